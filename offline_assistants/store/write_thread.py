"""Group commit: one thread that carries out requests in batches. Knows nothing of databases.

event loop: submit(request) ──queue──▶ thread: up to 512 requests, one carry_out(batch)
     future ◀──call_soon_threadsafe, once per batch── outcomes
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

Request = TypeVar("Request")
Outcome = TypeVar("Outcome")
_log = logging.getLogger(__name__)
_MAX_BATCH = 512


class Tidy(Protocol):
    def __call__(self, *, is_idle: bool) -> bool:
        """Whether there is more to do, so that it wants to be called again."""
        ...


class WriteThread(Generic[Request, Outcome]):
    def __init__(self, carry_out: Callable[[list[Request]], Sequence[Outcome | Exception]], *, tidy: Tidy, idle_after_s: float, tidy_after_s: float) -> None:
        """`carry_out` returns one outcome for each request.

        `tidy` runs when no request came for `idle_after_s` after the start or the last one; where they never end, between two of them, every `tidy_after_s`.
        """
        self._carry_out = carry_out
        self._tidy = tidy
        self._idle_after_s = idle_after_s
        self._tidy_after_s = tidy_after_s
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[tuple[Request, asyncio.Future[Outcome]] | None] = queue.SimpleQueue()
        # A daemon, so that a server that could not close the store still ends; what is acknowledged is on the disk anyway.
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def submit(self, request: Request) -> Outcome:
        """What became of the request. Who is cancelled while waiting does not learn it; the request is carried out all the same."""
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._queue.put((request, future))
        return await future

    def stop(self) -> None:
        """Carry out what was submitted before, then end the thread. Blocks; nothing may be submitted afterwards."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_tidy, stopping, tidied_at = False, False, time.monotonic()
        while not stopping:
            entries = self._take(timeout_s=None if is_tidy else self._idle_after_s)
            if not entries or time.monotonic() - tidied_at > self._tidy_after_s:
                is_tidy, tidied_at = not self._tidy(is_idle=not entries), time.monotonic()
            batch = [entry for entry in entries if entry is not None]
            stopping = len(batch) < len(entries)
            if not batch:
                continue
            is_tidy = False
            try:
                outcomes = self._carry_out([request for request, _ in batch])
            except Exception as error:  # noqa: BLE001 - a mistake of ours; without this everyone would wait for ever
                _log.exception("a batch failed in a way that nobody foresaw")
                outcomes = [error] * len(batch)
            self._loop.call_soon_threadsafe(_settle, [future for _, future in batch], outcomes)

    def _take(self, *, timeout_s: float | None) -> list[tuple[Request, asyncio.Future[Outcome]] | None]:
        """What was submitted; nothing when nobody came in time."""
        try:
            entries = [self._queue.get(timeout=timeout_s)]
        except queue.Empty:
            return []
        while len(entries) < _MAX_BATCH and not self._queue.empty():
            entries.append(self._queue.get())
        return entries


def _settle(futures: list[asyncio.Future[Outcome]], outcomes: Sequence[Outcome | Exception]) -> None:
    for future, outcome in zip(futures, outcomes, strict=True):
        if future.done():
            continue  # cancelled by its caller
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
