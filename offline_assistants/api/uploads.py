"""/v1/uploads and their parts"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.api.files import clean_name
from offline_assistants.api.multipart import receive_form
from offline_assistants.api.parts import PartsDep
from offline_assistants.api.requests import CompleteUpload, CreateUpload
from offline_assistants.errors import RequestError

router = APIRouter(prefix="/v1/uploads", route_class=CheckedRoute)
MAX_PART_BYTES = 64 * 1024 * 1024
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["data"], "properties": {"data": {"type": "string", "format": "binary"}}},
            }
        },
    }
}
"""What the handler reads for itself, as it arrives."""


@router.post("")
async def create_upload(body: CreateUpload, parts: PartsDep) -> dict[str, Any]:
    """Parts can be added for an hour."""
    filename = clean_name(body.filename, param="filename")
    upload = await parts.uploads.create(
        parts.store, filename=filename, purpose=body.purpose, num_bytes=body.bytes, mime_type=body.mime_type, expires_after=body.expires_after
    )
    parts.expiry.watch(upload)
    return upload.wire()


@router.post("/{upload_id}/parts", openapi_extra=FORM)
async def create_upload_part(upload_id: str, request: Request, parts: PartsDep) -> dict[str, Any]:
    """The part is on the disk when this answers. Several may be sent at once."""
    await parts.uploads.get_pending(parts.store, upload_id)  # before its body is read
    form = await receive_form(request, parts.blobs, file_field="data", max_bytes=MAX_PART_BYTES)
    if form.fields:
        await parts.blobs.delete(form.content.digest)
        name = next(iter(form.fields))
        raise RequestError(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    return (await parts.uploads.add_part(parts.store, upload_id, form.content)).wire()


@router.post("/{upload_id}/complete")
async def complete_upload(upload_id: str, body: CompleteUpload, parts: PartsDep) -> dict[str, Any]:
    """The upload with its file."""
    upload = await parts.uploads.complete(parts.store, upload_id, body.part_ids, md5=body.md5)
    if upload.file is not None:
        parts.expiry.watch(upload.file)
    return upload.wire()


@router.post("/{upload_id}/cancel")
async def cancel_upload(upload_id: str, parts: PartsDep) -> dict[str, Any]:
    return (await parts.uploads.cancel(parts.store, upload_id)).wire()
