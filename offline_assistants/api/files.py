"""/v1/files"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from pydantic import ValidationError

from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.api.multipart import receive_form
from offline_assistants.api.parts import Parts, PartsDep, deleted, page_of
from offline_assistants.api.requests import CreateFile, Order
from offline_assistants.domain.objects import File
from offline_assistants.errors import OfflineAssistantsError, RequestError
from offline_assistants.ingestion import unknown_file
from offline_assistants.store.changes import Put
from offline_assistants.uploads import new_file

router = APIRouter(prefix="/v1/files", route_class=CheckedRoute)
MAX_NAME_LENGTH = 255
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
                    },
                }
            }
        },
    }
}
"""What the handler reads for itself, as it arrives."""


def clean_name(name: str, *, param: str) -> str:
    """The last part of a path, without control characters. Raises RequestError for one that is too long."""
    last = PurePosixPath(name.replace("\\", "/")).name
    cleaned = "".join(each for each in last if each.isprintable() or unicodedata.category(each) not in ("Cc", "Cs")).strip()
    if len(cleaned) > MAX_NAME_LENGTH:
        text = f"string too long. Expected a string with maximum length {MAX_NAME_LENGTH}, but got a string with length {len(cleaned)} instead."
        raise RequestError(f"Invalid '{param}': {text}", param=param, code="string_above_max_length")
    return cleaned if cleaned.strip(".") else "file"


async def get_file(parts: Parts, file_id: str) -> File:
    file = await parts.store.get(File, file_id)
    if file is None or (file.expires_at is not None and file.expires_at <= parts.now()):
        raise unknown_file(file_id)
    return file


@router.post("", openapi_extra=FORM)
async def create_file(request: Request, parts: PartsDep) -> dict[str, Any]:
    """The content is on the disk when this answers."""
    form = await receive_form(request, parts.blobs, file_field="file", max_bytes=parts.max_file_bytes)
    try:
        asked = _checked(form.fields)
        filename = clean_name(form.filename or "", param="file")
        file = new_file(parts.ids, parts.now(), filename, asked.purpose, form.content, asked.expires_after)
        await parts.store.commit([Put(file)])
    except (OfflineAssistantsError, RequestValidationError):
        await parts.blobs.delete(form.content.digest)
        raise
    parts.expiry.watch(file)
    return file.wire()


def _checked(fields: Mapping[str, str]) -> CreateFile:
    body: dict[str, Any] = {}
    for name, text in fields.items():
        if name.startswith("expires_after[") and name.endswith("]"):
            body.setdefault("expires_after", {})[name[len("expires_after[") : -1]] = text
        else:
            body[name] = text
    try:
        return CreateFile.model_validate(body, strict=False)
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()], body=body) from error


@router.get("")
async def list_files(
    parts: PartsDep,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=0, le=10_000)] = 10_000,
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
