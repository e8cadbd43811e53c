"""Which thread has which Python session: one each, opened when first needed, ended by idleness, age, or want of room. Knows nothing of Docker.

A spare is a session that no thread has had yet, its libraries imported: a new thread gets one at once, and it is that thread's from then on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType

from offline_assistants.code_interpreter.kernel_session import KernelSession
from offline_assistants.errors import SandboxError

_log = logging.getLogger(__name__)

_MAX_REMEMBERED = 1000
_CLOSE_ALL_TIMEOUT_S = 10.0
_REFILL_AFTER_S = 2.0
"""A spare that was taken is replaced a little later, so that importing libraries does not compete with the code that took it."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    idle_s: float = 20 * 60.0
    """A session that nobody used for so long is ended."""
    max_age_s: float = 60 * 60.0
    """The hosted API's sessions lived for one hour."""
    max_sessions: int = 8
    """Live containers. One more ends the session that was idle longest; when none is idle, the call waits."""
    num_spares: int = 1
    """Sessions that are kept ready for new threads, once somebody asked to `warm`."""


@dataclass(eq=False, slots=True)
class _Place:
    """A thread's place in the house, kept while it has a session or somebody wants one."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    num_borrowers: int = 0
    session: KernelSession | None = None
    opened_at: float = 0.0
    used_at: float = 0.0


class Sessions:
    """An async context manager: leaving it ends every session."""

    def __init__(
        self,
        open_session: Callable[[], Awaitable[KernelSession]],
        limits: SessionLimits,
        *,
        open_spare: Callable[[], Awaitable[KernelSession]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`open_spare` opens a session that nobody waits for; None: like any other."""
        self._open_session = open_session
        self._open_spare = open_spare or open_session
        self._limits = limits
        self._clock = clock
        self._places: dict[str, _Place] = {}
        self._num_open = 0
        self._room = asyncio.Event()
        self._door = asyncio.Lock()
        """Held by the first of those that wait for room; the lock keeps the others in the order in which they came."""
        self._num_waiting = 0
        self._spares: list[tuple[float, KernelSession]] = []
        self._filling: asyncio.Task[None] | None = None
        self._is_opening_spare = False
        self._why_lost: dict[str, str] = {}
        """Thread id to the reason why its last session ended, until the thread has been told."""
        self._sweeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Sessions:
        self._sweeping = asyncio.create_task(self._sweep_for_ever())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        background = [task for task in (self._sweeping, self._filling) if task is not None]
        for task in background:
            task.cancel()
        spares, self._spares = self._spares, []
        try:
            async with asyncio.timeout(_CLOSE_ALL_TIMEOUT_S):
                await asyncio.gather(*background, return_exceptions=True)
                ends = [self._end(thread_id, "the server stopped") for thread_id in list(self._places)]
                await asyncio.gather(*ends, *(spare.close() for _, spare in spares))
        except TimeoutError:
            _log.warning("the container engine does not answer; its containers end by themselves when this process does")

    @asynccontextmanager
    async def borrow(self, thread_id: str) -> AsyncGenerator[tuple[KernelSession, str | None]]:
        """The thread's session, alone, and the reason why an earlier one was lost, if the thread does not know yet. Raises what opening raises."""
        place = self._places.setdefault(thread_id, _Place())
        place.num_borrowers += 1
        try:
            async with place.lock:
                session = await self._living_session(thread_id, place)
                try:
                    yield session, self._why_lost.pop(thread_id, None)
                finally:
                    place.used_at = self._clock()
                    if not session.is_alive and place.session is session:
                        await self._end(thread_id, "its container ended")
        finally:
            place.num_borrowers -= 1
            self._room.set()
            self._forget_if_empty(thread_id, place)

    async def end(self, thread_id: str) -> None:
        """End the thread's session at once, also in the middle of a call."""
        self._why_lost.pop(thread_id, None)
        await self._end(thread_id, None)

    def files_of(self, thread_id: str) -> frozenset[str] | None:
        """The files of the thread's session; None when the next borrower gets a new one."""
        place = self._places.get(thread_id)
        return None if place is None or place.session is None or self._expiry(place) else place.session.file_ids

    def num_before(self, thread_id: str) -> int:
        """How many callers wait for a session now that would get one before a call for this thread; 0 when it need not wait."""
        place = self._places.get(thread_id)
        has_session = place is not None and place.session is not None
        return 0 if has_session or self._has_room() else self._num_waiting + 1

    def warm(self) -> None:
        """Have a spare soon, if there is room for one. What goes wrong is left to the call that needs a session."""
        self._fill_soon(0.0)

    async def sweep(self) -> None:
        """End what is too old or was idle for too long."""
        unused = [(opened_at, spare) for opened_at, spare in self._spares if not spare.is_alive or self._clock() - opened_at >= self._limits.idle_s]
        self._spares = [each for each in self._spares if each not in unused]
        for _, spare in unused:
            await spare.close()
        for thread_id, place in list(self._places.items()):
            if place.num_borrowers == 0 and (reason := self._expiry(place)):
                await self._end(thread_id, reason)

    async def _living_session(self, thread_id: str, place: _Place) -> KernelSession:
        if place.session is not None and (reason := self._expiry(place)):
            await self._end(thread_id, reason)
        if place.session is not None:
            return place.session
        await self._make_room()
        try:
            session = await self._take_spare() or await self._open_session()
        except BaseException:
            self._num_open -= 1
            self._room.set()
            raise
        place.session = session
        place.opened_at = place.used_at = self._clock()
        return session

    def _expiry(self, place: _Place) -> str | None:
        now = self._clock()
        if place.session is None:
            return None
        if not place.session.is_alive:
            return "its container ended"
        if now - place.used_at >= self._limits.idle_s:
            return f"it was not used for {self._limits.idle_s / 60:.0f} minutes"
        if now - place.opened_at >= self._limits.max_age_s:
            return f"it was older than {self._limits.max_age_s / 60:.0f} minutes"
        return None

    async def _take_spare(self) -> KernelSession | None:
        if not self._spares and self._is_opening_spare and self._filling is not None:
            await asyncio.wait([self._filling])  # it is further on than one that would be opened now
        while self._spares:
            _, spare = self._spares.pop()
            if spare.is_alive:
                self._fill_soon(_REFILL_AFTER_S)
                return spare
            await spare.close()
        return None

    def _fill_soon(self, wait_s: float) -> None:
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill(wait_s))

    async def _fill(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        try:
            while len(self._spares) < self._limits.num_spares and self._num_open + len(self._spares) < self._limits.max_sessions:
                self._is_opening_spare = True
                self._spares.append((self._clock(), await self._open_spare()))
        except SandboxError as error:
            _log.info("no session is kept ready: %s", error.message)
        finally:
            self._is_opening_spare = False

    def _has_room(self) -> bool:
        return self._num_open < self._limits.max_sessions or self._longest_idle() is not None

    def _longest_idle(self) -> str | None:
        idle = [(place.used_at, thread_id) for thread_id, place in self._places.items() if place.session is not None and place.num_borrowers == 0]
        return min(idle)[1] if idle else None

    async def _make_room(self) -> None:
        """Count one more session as open, in the order of asking."""
        self._num_waiting += 1
        try:
            async with self._door:
                while self._num_open >= self._limits.max_sessions:
                    idle = self._longest_idle()
                    if idle is not None:
                        await self._end(idle, "its place was needed for another conversation")
                    else:
                        self._room.clear()
                        await self._room.wait()
                self._num_open += 1
        finally:
            self._num_waiting -= 1

    async def _end(self, thread_id: str, reason: str | None) -> None:
        place = self._places.get(thread_id)
        if place is None or place.session is None:
            return
        session, place.session = place.session, None
        self._num_open -= 1
        self._room.set()
        self._forget_if_empty(thread_id, place)
        if reason is not None:
            self._why_lost[thread_id] = reason
            while len(self._why_lost) > _MAX_REMEMBERED:
                del self._why_lost[next(iter(self._why_lost))]
            _log.info("session of %s ended: %s", thread_id, reason)
        await session.close()

    def _forget_if_empty(self, thread_id: str, place: _Place) -> None:
        if place.session is None and place.num_borrowers == 0 and self._places.get(thread_id) is place:
            del self._places[thread_id]

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(min(30.0, self._limits.idle_s, self._limits.max_age_s))
            await self.sweep()
