"""/v1/files"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request, UploadFile
from fastapi import File as FilePart
from fastapi.responses import FileResponse, Response
from fastapi.routing import APIRoute

from offline_assistants.api.parts import Parts, PartsDep, deleted, page_of
from offline_assistants.api.requests import Order
from offline_assistants.api.resources import unknown_file
from offline_assistants.domain.objects import File, FilePurpose
from offline_assistants.errors import OfflineAssistantsError, RequestError
from offline_assistants.store.changes import Put

READ_SIZE = 1024 * 1024
FORM_BYTES = 64 * 1024
"""What a form may have beside its file: names, boundaries, the purpose."""


class SizeLimitedRoute(APIRoute):
    """A body that says beforehand that it is too large is refused before a byte of it is kept."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_if_small(request: Request) -> Response:
            parts: Parts = request.app.state.parts
            length = request.headers.get("content-length", "0")
            if length.isdigit() and int(length) > parts.max_file_bytes + FORM_BYTES:
                raise _too_large(int(length), parts.max_file_bytes)
            return await answer(request)

        return answer_if_small


router = APIRouter(prefix="/v1/files", route_class=SizeLimitedRoute)


def _too_large(num_bytes: int, max_bytes: int) -> RequestError:
    return RequestError(f"The upload has {num_bytes} bytes; at most {max_bytes} are accepted.", param="file", code="file_too_large")


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
    expiry_anchor: Annotated[str | None, Form(alias="expires_after[anchor]")] = None,
    expiry_seconds: Annotated[str | None, Form(alias="expires_after[seconds]")] = None,
) -> dict[str, Any]:
    """The content is on the disk when this answers."""
    if expiry_anchor is not None or expiry_seconds is not None:
        message = "'expires_after' is not supported yet: files are kept until they are deleted. Leave it out."
        raise RequestError(message, param="expires_after", code="unsupported_parameter")
    if file.size is not None and file.size > parts.max_file_bytes:
        raise _too_large(file.size, parts.max_file_bytes)
    blob = await parts.blobs.put(_chunks(file))
    stored = File(
        id=parts.ids.new("file-"),
        bytes=blob.size,
        created_at=parts.now(),
        filename=PurePosixPath((file.filename or "file").replace("\\", "/")).name or "file",
        purpose=purpose,
        digest=blob.digest,
    )
    try:
        await parts.store.commit([Put(stored)])
    except OfflineAssistantsError:
        await parts.blobs.delete(blob.digest)
        raise
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
    await parts.ingestion.delete_file(await get_file(parts, file_id))
    return deleted(file_id, "file")
