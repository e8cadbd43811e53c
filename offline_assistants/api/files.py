"""/v1/files"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Form, Query, UploadFile
from fastapi import File as FilePart
from fastapi.responses import FileResponse, Response

from offline_assistants.api.parts import Parts, PartsDep, deleted, page_of
from offline_assistants.api.requests import Order
from offline_assistants.api.resources import unknown_file
from offline_assistants.domain.objects import Assistant, CodeInterpreterResources, File, FilePurpose, Thread
from offline_assistants.errors import RequestError
from offline_assistants.store.changes import Change, Delete, Exists, Put, Update

router = APIRouter(prefix="/v1/files")
READ_SIZE = 1024 * 1024
Holder = TypeVar("Holder", Assistant, Thread)


async def get_file(parts: Parts, file_id: str) -> File:
    file = await parts.store.get(File, file_id)
    if file is None:
        raise unknown_file(file_id)
    return file


@router.post("")
async def create_file(
    parts: PartsDep,
    file: Annotated[UploadFile, FilePart()],
    purpose: Annotated[Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"], Form()],
) -> dict[str, Any]:
    """The content is on the disk when this answers."""
    if file.size is not None and file.size > parts.max_file_bytes:
        raise RequestError(f"The file has {file.size} bytes; at most {parts.max_file_bytes} are accepted.", param="file", code="file_too_large")
    blob = await parts.blobs.put(_chunks(file))
    stored = File(
        id=parts.ids.new("file-"),
        bytes=blob.size,
        created_at=parts.now(),
        filename=PurePosixPath((file.filename or "file").replace("\\", "/")).name or "file",
        purpose=purpose,
        digest=blob.digest,
    )
    await parts.store.commit([Put(stored)])
    return stored.wire()


async def _chunks(file: UploadFile) -> AsyncGenerator[bytes]:
    while chunk := await file.read(READ_SIZE):
        yield chunk


@router.get("")
async def list_files(
    parts: PartsDep,
    purpose: FilePurpose | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Order = "desc",
    after: str | None = None,
) -> dict[str, Any]:
    page = await parts.store.list_page(File, where={"purpose": purpose} if purpose else {}, limit=limit, order=order, after=after)
    return page_of(page.items, has_more=page.has_more)


@router.get("/{file_id}")
async def retrieve_file(file_id: str, parts: PartsDep) -> dict[str, Any]:
    return (await get_file(parts, file_id)).wire()


@router.get("/{file_id}/content")
async def download_file(file_id: str, parts: PartsDep) -> Response:
    """As bytes to be saved, never as a page of this origin."""
    file = await get_file(parts, file_id)
    return FileResponse(parts.blobs.path(file.digest), media_type="application/octet-stream", filename=file.filename)


@router.delete("/{file_id}")
async def delete_file(file_id: str, parts: PartsDep) -> dict[str, Any]:
    """Also out of every vector store and every code_interpreter list."""
    file = await get_file(parts, file_id)
    await parts.ingestion.remove_file_everywhere(file_id)
    changes: list[Change[Any]] = [Delete(File, file_id)]
    for kind in (Assistant, Thread):
        async for holder in parts.store.list_all(kind):
            if file_id in holder.tool_resources.code_file_ids():
                changes.append(Update(kind, holder.id, lambda old: _without(old, file_id)))
    await parts.store.commit(changes, require=[Exists(File, file_id, unknown_file(file_id))])
    if not await parts.store.count(File, where={"digest": file.digest}):
        await parts.blobs.delete(file.digest)
    return deleted(file_id, "file")


def _without(holder: Holder, file_id: str) -> Holder:
    kept = [each for each in holder.tool_resources.code_file_ids() if each != file_id]
    resources = holder.tool_resources.model_copy(update={"code_interpreter": CodeInterpreterResources(file_ids=kept)})
    return holder.model_copy(update={"tool_resources": resources})
