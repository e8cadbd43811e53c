"""Server-sent events, byte by byte as the hosted API sent them. Knows nothing of runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse

from offline_assistants.domain.stream_events import StreamEvent
from offline_assistants.errors import OfflineAssistantsError

HEARTBEAT_S = 15.0
DONE = b"event: done\ndata: [DONE]\n\n"
COMMENT = b": still here\n\n"


def frame(event: str, data: dict[str, Any]) -> bytes:
    """One event: a name, one line of JSON, an empty line."""
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def error_frame(error: OfflineAssistantsError) -> bytes:
    """An error in mid-stream, in the one form that serves both kinds of clients: those that look for `error`, and those that want it bare."""
    fields = {"code": error.code, "message": error.message, "param": error.param, "type": error.type}
    return frame("error", {"error": fields, **fields})


def stream_response(events: AsyncIterator[StreamEvent], *, with_search_content: bool = False) -> StreamingResponse:
    """The events as they come, then `done`. A reader that leaves changes nothing for the run."""
    return StreamingResponse(
        _frames(events, with_search_content=with_search_content),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _frames(events: AsyncIterator[StreamEvent], *, with_search_content: bool) -> AsyncGenerator[bytes]:
    upcoming = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait([upcoming], timeout=HEARTBEAT_S)
            if not done:
                yield COMMENT
                continue
            event = upcoming.result()
            if event is None:
                break
            yield frame(event.event, event.wire(with_search_content=with_search_content))
            upcoming = asyncio.ensure_future(anext(events, None))
    except OfflineAssistantsError as error:
        yield error_frame(error)
    finally:
        upcoming.cancel()
    yield DONE
