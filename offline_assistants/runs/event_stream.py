"""What a run has announced so far: replay, then follow. Knows nothing of sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from offline_assistants.domain.stream_events import StreamEvent
from offline_assistants.errors import OfflineAssistantsError

ENDS_STREAM = frozenset(f"thread.run.{status}" for status in ("requires_action", "completed", "incomplete", "failed", "cancelled", "expired"))
"""After one of these a client's stream is over; the one of submit_tool_outputs begins behind it."""


class EventStream:
    """Everything a run has announced, in order. Readers replay from any index, then follow; a reader that leaves changes nothing."""

    def __init__(self) -> None:
        self._events: list[StreamEvent] = []
        self._news = asyncio.Event()
        self._is_closed = False
        self._error: OfflineAssistantsError | None = None

    def __len__(self) -> int:
        return len(self._events)

    def publish(self, *events: StreamEvent) -> None:
        """Append, and wake every reader. What is announced has been saved before."""
        self._events.extend(events)
        self._wake()

    def close(self, error: OfflineAssistantsError | None = None) -> None:
        """No more will come. Readers end where they are; with `error`, because the run could not be followed to its end."""
        self._is_closed, self._error = True, error
        self._wake()

    def _wake(self) -> None:
        # Each wait has an Event of its own, so that a reader which has not yet begun to wait cannot miss the news.
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def read(self, start: int = 0) -> AsyncIterator[StreamEvent]:
        """From `start` up to the next event that ends a stream, or up to the close. Raises the error that the stream was closed with."""
        while True:
            news = self._news
            while start < len(self._events):
                event = self._events[start]
                start += 1
                yield event
                if event.event in ENDS_STREAM:
                    return
            if self._is_closed:
                if self._error is not None:
                    raise self._error
                return
            if news is self._news:
                await news.wait()
