"""/admin: what commands ask of the server. Answered on the socket in the data directory only, which nobody but its owner can open."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from offline_assistants.api.guard import is_local_socket
from offline_assistants.api.keys import KeyRing
from offline_assistants.api.parts import Parts, deleted
from offline_assistants.api.transfers import export, take
from offline_assistants.domain.objects import DEFAULT_PROJECT, File, ProjectName, Shape
from offline_assistants.errors import NotFound
from offline_assistants.store.duckdb_store import DuckDBStore


@dataclass(frozen=True, slots=True)
class Admin:
    """What belongs to the server and not to a project."""

    keys: KeyRing
    store: DuckDBStore
    parts: Parts
    address: str | None = None
    """Of the page, as a browser on this machine finds it; None where only this socket is served."""


def _admin(request: Request) -> Admin:
    if not is_local_socket(request.scope):
        raise HTTPException(404)
    return request.app.state.admin


AdminDep = Annotated[Admin, Depends(_admin)]
router = APIRouter(prefix="/admin", include_in_schema=False, dependencies=[Depends(_admin)])


class CreateKey(Shape):
    project: ProjectName = DEFAULT_PROJECT
    name: str | None = None


@router.get("/address")
async def show_address(admin: AdminDep) -> dict[str, str | None]:
    return {"url": admin.address}


@router.get("/keys")
async def list_keys(admin: AdminDep) -> dict[str, Any]:
    return {"object": "list", "data": [key.wire() for key in admin.keys.list()]}


@router.post("/keys")
async def create_key(body: CreateKey, admin: AdminDep) -> dict[str, Any]:
    """The only answer that has the key's text in it."""
    key, text = await admin.keys.create(project=body.project, name=body.name)
    return {**key.wire(), "key": text}


@router.delete("/keys/{key_id}")
async def revoke_key(key_id: str, admin: AdminDep) -> dict[str, Any]:
    await admin.keys.revoke(key_id)
    return deleted(key_id, "api_key.deleted")


@router.get("/projects")
async def list_projects(admin: AdminDep) -> dict[str, Any]:
    """Those that have anything. Over this socket the header OpenAI-Project says whose objects a request means."""
    return {"object": "list", "data": await admin.store.projects()}


@router.get("/models/loaded")
async def list_loaded_models(admin: AdminDep) -> dict[str, Any]:
    loaded = [asdict(each) for each in await admin.parts.engines.list_loaded()]
    return {"object": "list", "data": [{"id": each.pop("model_id"), **each} for each in loaded]}


class UnloadModel(Shape):
    model: str


@router.post("/models/unload")
async def unload_model(body: UnloadModel, admin: AdminDep) -> dict[str, Any]:
    await admin.parts.engines.unload(body.model)
    return {"id": body.model, "unloaded": True}


# ── Import and export ────────────────────────────────────────────────────────────────────────────────────────────────


class ImportObjects(Shape):
    project: ProjectName | None = None
    objects: list[dict[str, Any]]


@router.get("/export")
async def export_objects(admin: AdminDep, project: str | None = None) -> Response:
    """One object a line."""
    return StreamingResponse(export(admin.store, project), media_type="application/x-ndjson")


@router.get("/contents/{file_id}")
async def download_content(file_id: str, admin: AdminDep) -> Response:
    """Of a file of any project."""
    file = await admin.store.get(File, file_id)
    if file is None:
        raise NotFound
    return FileResponse(admin.parts.blobs.path(file.digest), media_type="application/octet-stream")


@router.post("/contents")
async def upload_content(request: Request, admin: AdminDep) -> dict[str, Any]:
    """A content for a file that is imported next."""
    blob = await admin.parts.blobs.put(request.stream())
    return {"digest": blob.digest, "bytes": blob.size}


@router.post("/import")
async def import_objects(body: ImportObjects, admin: AdminDep) -> dict[str, Any]:
    """What became of each, in the same order."""
    taken = await take(admin.parts, admin.store, body.objects, body.project)
    return {"results": [{"outcome": each.outcome, "reason": each.reason} for each in taken]}
