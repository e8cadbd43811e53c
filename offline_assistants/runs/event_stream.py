"""What a run has announced so far: replay, then follow. Knows nothing of sockets.

Theory of operation. The stream is one list, to which the run appends and from which any number of readers read, each at its own pace: a reader is an index.
So a slow reader costs no more than the list, and one that leaves changes nothing. A reader takes all that is there at once, and having taken something
leaves the run `BREATH_S` before it looks again: a token of a model takes longer than that, and what comes faster goes out together, for one wake-up and
one write instead of many.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from offline_assistants.domain.stream_events import StreamEvent
from offline_assistants.errors import OfflineAssistantsError

ENDS_STREAM = frozenset(f"thread.run.{status}" for status in ("requires_action", "completed", "incomplete", "failed", "cancelled", "expired"))
"""After one of these a client's stream is over; the one of submit_tool_outputs begins behind it."""
MAX_TAKEN = 256
"""Events that a reader takes at once; more would be a stall for all others, and memory for one that does not read on."""
BREATH_S = 0.004


class EventStream:
    """Everything a run has announced, in order. Readers replay from any index, then follow; a reader that leaves changes nothing."""

    def __init__(self) -> None:
        self._events: list[StreamEvent] = []
        self._waiting: set[asyncio.Future[None]] = set()
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
        while self._waiting:
            _set(self._waiting.pop())

    async def read(self, start: int = 0, *, patience_s: float | None = None) -> AsyncGenerator[Sequence[StreamEvent]]:
        """From `start` up to the next event that ends a stream, or up to the close, as many at a time as there are; none after `patience_s` without news.

        Raises the error that the stream was closed with.
        """
        while True:
            if start < len(self._events):
                events = self._take(start)
                start += len(events)
                yield events
                if events[-1].event in ENDS_STREAM:
                    return
                if start == len(self._events) and not self._is_closed:
                    await asyncio.sleep(BREATH_S)
            elif self._is_closed:
                if self._error is not None:
                    raise self._error
                return
            elif not await self._news(patience_s):
                yield ()

    def _take(self, start: int) -> Sequence[StreamEvent]:
        events = self._events[start : start + MAX_TAKEN]
        ends = (index for index, event in enumerate(events, 1) if event.event in ENDS_STREAM)
        return events[: next(ends, len(events))]

    async def _news(self, patience_s: float | None) -> bool:
        """Waits until something is published, or the stream is closed; False when that took longer than `patience_s`."""
        loop = asyncio.get_running_loop()
        news = loop.create_future()
        self._waiting.add(news)
        timer = None if patience_s is None else loop.call_later(patience_s, _set, news)
        try:
            await news
            return news not in self._waiting
        finally:
            self._waiting.discard(news)
            if timer is not None:
                timer.cancel()


def _set(news: asyncio.Future[None]) -> None:
    if not news.done():
        news.set_result(None)
