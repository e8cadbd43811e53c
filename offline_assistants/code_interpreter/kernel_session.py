"""One Python session in one closed-off process: starts it, hands files in, runs code, stops it. Knows frames, nothing of threads or of other sessions."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence

from offline_assistants.code_interpreter import kernel_protocol as protocol
from offline_assistants.code_interpreter.backend import Backend, KernelProcess
from offline_assistants.errors import SandboxError
from offline_assistants.ports import ExecutionEnded, ExecutionEvent, FileMade, Image, Logs, SandboxFile

_log = logging.getLogger(__name__)

_READY_TIMEOUT_S = 60.0
_PRELOAD_TIMEOUT_S = 120.0
"""The kernel imports its libraries after it said ready and before it takes the first frame."""
_ANSWER_TIMEOUT_S = 30.0
"""Every later frame it takes at once, so this is for a machine that is very busy."""
_KERNEL_GRACE_S = 1.0
"""The kernel interrupts code at its limit, and kills what has not reacted so long after it."""
_SILENCE_S = 3.0
"""After that, a kernel that says nothing for so long is taken for dead, and its container is killed."""
_HAND_OVER_S = 600.0
"""Files may take so long after the limit, the time of who stores them included, as long as they keep coming."""
_INTERRUPT_TIMEOUT_S = 5.0
_WRITE_TIMEOUT_S = 120.0
_DIED = "The container of this Python session ended while the code ran. Variables and the files in /mnt/data are lost."
_HUNG = "The Python session did not come back after its time limit and was ended. Variables and the files in /mnt/data are lost."


class SessionDiedError(Exception):
    """The stream ended or the kernel broke its protocol."""


class KernelSession:
    """Made by `open_session`. One call at a time, and `settle` after each; when `is_alive` is false, only `close` is left."""

    def __init__(self, process: KernelProcess, limits: protocol.OutputLimits) -> None:
        self._process = process
        self._decoder = protocol.EventDecoder(limits)
        self._limits = limits
        self._num_bytes_of_answer = 0
        self._events: Iterator[protocol.KernelEvent] = iter(())
        self._file_ids: set[str] = set()
        self._request = 0
        self._is_answer_due = False
        self._is_trusted = True
        self._patience_s = _PRELOAD_TIMEOUT_S

    @property
    def is_alive(self) -> bool:
        return self._is_trusted and not self._process.is_closed

    @property
    def process_name(self) -> str:
        return self._process.name

    @property
    def file_ids(self) -> frozenset[str]:
        """The files that were placed in the session."""
        return frozenset(self._file_ids)

    async def greet(self, limits: protocol.OutputLimits, *, preload: bool) -> None:
        """Raises SandboxError when no kernel of ours answers."""
        try:
            await self._send(protocol.hello(limits, preload=preload))
            ready = await self._next_event(_READY_TIMEOUT_S)
        except (SessionDiedError, TimeoutError) as error:
            raise SandboxError(f"The sandbox did not start: {self._process.stderr_tail.strip() or error or 'no answer in time'}.") from error
        if ready != protocol.Ready(protocol.PROTOCOL):
            raise SandboxError("The sandbox image belongs to another version. Run `offline-assistants sandbox build`.")

    async def put_files(self, files: Sequence[SandboxFile]) -> list[str]:
        """Write those that the session does not have yet; a sentence for each that could not be. Raises SandboxUnavailable, SandboxError."""
        problems: list[str] = []
        for file in files:
            if file.file_id in self._file_ids:
                continue
            error = await self._put(file)
            if error is None:
                self._file_ids.add(file.file_id)
            else:
                problems.append(f"The file {file.filename} could not be placed in /mnt/data: {error}.")
        return problems

    async def run(self, code: str, timeout_s: float) -> AsyncGenerator[ExecutionEvent]:
        """The events of one call, ExecutionEnded last. Raises SandboxUnavailable when the engine is gone."""
        num_images = num_files = 0
        try:
            await self._ask([protocol.execute(self._request + 1, code, timeout_s)])
            async for event in self._events_of_call(timeout_s):
                match event:
                    case protocol.LogText(text=text):
                        yield Logs(text)
                    case protocol.Png(content=content):
                        num_images += 1
                        self._check(num_images <= self._limits.images and len(content) <= self._limits.image_bytes)
                        yield Image(content, f"image_{num_images}.png")
                    case protocol.File(path=path, content=content):
                        num_files += 1
                        self._check(num_files <= self._limits.files and len(content) <= self._limits.file_bytes)
                        yield FileMade(f"/mnt/data/{path}", content)
                    case protocol.Ended(status=status, is_state_lost=is_state_lost):
                        yield ExecutionEnded(status, is_state_lost)
                    case protocol.Ready() | protocol.Started() | protocol.PutDone():
                        pass  # nothing that a caller would see
        except SessionDiedError as error:
            await self._blame(error)
            yield Logs(f"[{_DIED}]\n")
            yield ExecutionEnded("crashed", is_state_lost=True)
        except TimeoutError:
            self._is_trusted = False
            yield Logs(f"[{_HUNG}]\n")
            yield ExecutionEnded("timeout", is_state_lost=True)

    async def settle(self) -> None:
        """When the last call was left before its end: interrupt it and wait for the end, so that the next answer is the next call's. Else nothing."""
        if not (self._is_answer_due and self.is_alive):
            return
        try:
            async with asyncio.timeout(_INTERRUPT_TIMEOUT_S):
                await self._send(protocol.interrupt(self._request))
                while self._is_answer_due:
                    await self._next_event(_INTERRUPT_TIMEOUT_S)
        except (SessionDiedError, TimeoutError):
            self._is_trusted = False
        except asyncio.CancelledError:
            self._is_trusted = False
            raise

    async def close(self) -> None:
        """Kill and remove the process. Without an engine there is nothing to remove: hanging up has ended the kernel."""
        self._is_trusted = False
        try:
            await self._process.remove()
        except SandboxError as error:
            _log.warning("container %s was not removed: %s", self.process_name[:12], error)

    async def _put(self, file: SandboxFile) -> str | None:
        try:
            name, link = (file.file_id, protocol.link_name(file.filename)) if file.path is None else (protocol.relative_path(file.path), None)
            await self._ask(protocol.put(self._request + 1, name, link, file.content))
            answer = await self._first_event()
        except (SessionDiedError, TimeoutError) as error:
            await self._blame(error)
            raise SandboxError from error
        return answer.error if isinstance(answer, protocol.PutDone) else None

    async def _blame(self, error: Exception) -> None:
        """The session is dead. Raises SandboxUnavailable when that is because the engine is gone."""
        self._is_trusted = False
        _log.warning("container %s: %s %s", self.process_name[:12], error, self._process.stderr_tail)
        await self._process.ask_engine()

    async def _events_of_call(self, timeout_s: float) -> AsyncGenerator[protocol.KernelEvent]:
        yield await self._first_event()
        limit_at = time.monotonic() + timeout_s + _KERNEL_GRACE_S
        while self._is_answer_due:
            yield await self._next_event(_SILENCE_S, limit_at=limit_at, give_up_at=limit_at + _HAND_OVER_S)

    async def _first_event(self) -> protocol.KernelEvent:
        """Of an answer. The session's first answer comes when its kernel has imported its libraries."""
        event = await self._next_event(self._patience_s)
        self._patience_s = _ANSWER_TIMEOUT_S
        return event

    def _check(self, is_allowed: bool) -> None:
        """The kernel was told the limits; what goes beyond them is not from ours. Raises SessionDiedError."""
        if not is_allowed:
            raise SessionDiedError("it sent more than its limits allow")

    async def _ask(self, frames: Iterable[bytes]) -> None:
        """Send the frames of the next request, whose number is one higher than the last one's."""
        self._request += 1
        self._num_bytes_of_answer = 0
        self._is_answer_due = True
        for frame in frames:
            await self._send(frame)

    async def _send(self, frame: bytes) -> None:
        try:
            async with asyncio.timeout(_WRITE_TIMEOUT_S):
                await self._process.write(frame)
        except OSError as error:  # TimeoutError is one, too
            raise SessionDiedError("nothing can be written to it") from error

    async def _next_event(self, silence_s: float, *, limit_at: float = 0.0, give_up_at: float = math.inf) -> protocol.KernelEvent:
        """Raises SessionDiedError, and TimeoutError when nothing at all arrives for `silence_s` or the event is not there at `give_up_at`.

        `limit_at` is when the code must have ended; until then, it may be silent for as long as it likes. Both on the monotonic clock.
        """
        try:
            while (event := next(self._events, None)) is None:
                if (now := time.monotonic()) > give_up_at:
                    raise TimeoutError
                async with asyncio.timeout(silence_s + max(0.0, limit_at - now)):
                    data = await self._process.read()
                if not data:
                    raise SessionDiedError("its stream ended")
                self._num_bytes_of_answer += len(data)
                self._check(self._num_bytes_of_answer <= self._limits.total_bytes)
                self._events = self._decoder.feed(data)
        except protocol.ProtocolError as error:
            raise SessionDiedError(f"it broke the protocol with {error}") from error
        if not isinstance(event, protocol.Ready) and event.request != self._request:
            raise SessionDiedError("it answered what nobody asked")
        if isinstance(event, protocol.PutDone | protocol.Ended):
            self._is_answer_due = False
        return event


async def open_session(backend: Backend, limits: protocol.OutputLimits, *, preload: bool) -> KernelSession:
    """A started process whose kernel has answered. Raises SandboxUnavailable, SandboxError; then nothing is left behind.

    `preload`: nobody waits for it, so it may import the great libraries first.
    """
    session = KernelSession(await backend.start(), limits)
    try:
        await session.greet(limits, preload=preload)
    except BaseException:
        await session.close()
        raise
    return session
