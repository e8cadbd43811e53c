"""Server-sent events, byte by byte as the hosted API sent them. Knows nothing of runs."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from fastapi.responses import StreamingResponse

from offline_assistants.domain.stream_events import StreamEvent
from offline_assistants.errors import OfflineAssistantsError

log = logging.getLogger(__name__)

DONE = b"event: done\ndata: [DONE]\n\n"
COMMENT = b": still here\n\n"
"""Keeps proxies from closing a stream on which nothing happens; clients skip it."""


def frame(event: str, data: str) -> bytes:
    """One event: a name, one line of JSON, an empty line."""
    return f"event: {event}\ndata: {data}\n\n".encode()


def error_frame(error: OfflineAssistantsError) -> bytes:
    """An error in mid-stream, in the one form that serves both kinds of clients: those that look for `error`, and those that want it bare."""
    fields = {"code": error.code, "message": error.message, "param": error.param, "type": error.type}
    return frame("error", json.dumps({"error": fields, **fields}, ensure_ascii=False))


def stream_response(events: AsyncGenerator[Sequence[StreamEvent]], *, with_search_content: bool = False) -> StreamingResponse:
    """The events as they come, a comment wherever there are none for a while, then `done`. A reader that leaves changes nothing for the run."""
    return StreamingResponse(
        _chunks(events, with_search_content=with_search_content),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _chunks(batches: AsyncGenerator[Sequence[StreamEvent]], *, with_search_content: bool) -> AsyncGenerator[bytes]:
    """What is there at one time goes out as one piece. The next is taken when the socket has room for more, so a slow reader holds one piece."""
    try:
        async with aclosing(batches):
            async for events in batches:
                yield b"".join(frame(event.event, event.json(with_search_content=with_search_content)) for event in events) or COMMENT
    except OfflineAssistantsError as error:
        yield error_frame(error)
    except Exception as error:  # the answer has begun, so it is too late for any other form
        log.exception("a stream failed")
        yield error_frame(OfflineAssistantsError(f"The server failed: {type(error).__name__}. Its log holds the reason."))
    yield DONE
