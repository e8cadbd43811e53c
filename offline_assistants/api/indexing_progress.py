"""/v1/vector_stores/{vector_store_id}/progress, an extension: how far the files of a vector store are, once or as events until all are done.

The store's row is looked at again and again instead of being announced: counts change in many places, and a look takes less than a millisecond.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse

from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.api.parts import Parts, PartsDep
from offline_assistants.api.resources import unknown_vector_store
from offline_assistants.api.sse import COMMENT, DONE, error_frame, frame
from offline_assistants.domain.objects import VectorStore
from offline_assistants.errors import NotFound

router = APIRouter(prefix="/v1/vector_stores", route_class=CheckedRoute)

EVENT = "vector_store.progress"
_LOOKS_EVERY_S = 0.2
_SILENT_S = 15.0


@router.get("/{vector_store_id}/progress")
async def vector_store_progress(vector_store_id: str, parts: PartsDep, stream: bool = False) -> Response:
    """How many files are done and how far those are that are being read. With `stream=true` again whenever that changes, until none is in progress."""
    now = await _progress(parts, vector_store_id)
    if not stream:
        return JSONResponse(now)
    return StreamingResponse(_frames(parts, now), media_type="text/event-stream", headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})


async def _progress(parts: Parts, vector_store_id: str) -> dict[str, Any]:
    store = await parts.store.get(VectorStore, vector_store_id)
    if store is None:
        raise unknown_vector_store(vector_store_id)
    store = store.at(parts.now())
    return {
        "object": EVENT,
        "id": store.id,
        "status": store.status,
        "file_counts": store.file_counts.model_dump(),
        "files_at_work": [{"id": file_id, "share_done": round(share, 3)} for file_id, share in parts.ingestion.files_at_work(store.id).items()],
    }


async def _frames(parts: Parts, now: dict[str, Any]) -> AsyncGenerator[bytes]:
    yield frame(EVENT, json.dumps(now))
    told_at = time.monotonic()
    try:
        while now["file_counts"]["in_progress"]:
            await asyncio.sleep(_LOOKS_EVERY_S)
            before, now = now, await _progress(parts, now["id"])
            if now != before or time.monotonic() - told_at > _SILENT_S:
                yield frame(EVENT, json.dumps(now)) if now != before else COMMENT
                told_at = time.monotonic()
    except NotFound as error:  # deleted meanwhile
        yield error_frame(error)
    yield DONE
