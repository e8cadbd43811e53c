"""Streams of plain data frames, and requests that end when their client leaves. Knows nothing of what is generated."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from offline_assistants.api.sse import COMMENT
from offline_assistants.completions.generations import Said
from offline_assistants.errors import OfflineAssistantsError, RequestError

log = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"
Value = TypeVar("Value")


class ClientLeft(RequestError):
    """The client closed the connection, so the answer was given up."""

    status = 499


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, Value]) -> Value:
    """What the work brings. It is cancelled when the client closes the connection before; then nobody reads the ClientLeft that is raised."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_until_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeft
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _until_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def data_frame(content: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n".encode("utf-8", "replace")


class DataStream(StreamingResponse):
    """What it reads from is closed when the client leaves, which ends the generations behind it."""

    def __init__(self, frames: AsyncGenerator[bytes], *, headers: Mapping[str, str]) -> None:
        super().__init__(frames, media_type="text/event-stream", headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **headers})
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._frames):
            await super().__call__(scope, receive, send)


async def frames_of(
    first: Sequence[Said],
    batches: AsyncGenerator[list[Said]],
    *,
    take: Callable[[Sequence[Said]], Sequence[Mapping[str, Any]]],
    end: Callable[[], Coroutine[Any, Any, Mapping[str, Any] | None]],
) -> AsyncGenerator[bytes]:
    """Chunks as they come, a comment wherever there is silence, what `end` adds, and the mark of the end. What fails on the way is told in its place."""
    try:
        async with aclosing(batches):
            yield b"".join(map(data_frame, take(first))) or COMMENT
            async for batch in batches:
                yield b"".join(map(data_frame, take(batch))) or COMMENT
        if last := await end():
            yield data_frame(last)
    except OfflineAssistantsError as error:
        yield _error_frame(error)
    except Exception as error:  # the answer has begun, so it is too late for any other form
        log.exception("a stream failed")
        yield _error_frame(OfflineAssistantsError(f"The server failed: {type(error).__name__}. Its log holds the reason."))
    yield DONE


def _error_frame(error: OfflineAssistantsError) -> bytes:
    return data_frame({"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}})
