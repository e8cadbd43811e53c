"""/admin: what commands ask of the server. Answered on the socket in the data directory only, which nobody but its owner can open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException

from offline_assistants.api.guard import is_local_socket
from offline_assistants.api.keys import KeyRing
from offline_assistants.api.parts import deleted
from offline_assistants.domain.objects import DEFAULT_PROJECT, ProjectName, Shape


@dataclass(frozen=True, slots=True)
class Admin:
    """What belongs to the server and not to a project."""

    keys: KeyRing


def _admin(request: Request) -> Admin:
    if not is_local_socket(request.scope):
        raise HTTPException(404)
    return request.app.state.admin


AdminDep = Annotated[Admin, Depends(_admin)]
router = APIRouter(prefix="/admin", include_in_schema=False, dependencies=[Depends(_admin)])


class CreateKey(Shape):
    project: ProjectName = DEFAULT_PROJECT
    name: str | None = None


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
