"""The Sandbox port over Python sessions: one per thread, opened when its code first runs. Knows no Docker: what closes sessions off is a Backend."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from types import TracebackType
from typing import Self

from offline_assistants.code_interpreter.backend import Backend
from offline_assistants.code_interpreter.kernel_protocol import OutputLimits
from offline_assistants.code_interpreter.kernel_session import KernelSession, open_session
from offline_assistants.code_interpreter.sessions import SessionLimits, Sessions
from offline_assistants.errors import SandboxError
from offline_assistants.ports import ExecutionEnded, ExecutionEvent, Logs, SandboxFile

_log = logging.getLogger(__name__)

_FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_ALL_GONE = "Its variables, and the files it made, are gone."


class SessionSandbox:
    """An async context manager. Entering needs no engine: a missing one is found, and named, when code shall run."""

    def __init__(
        self,
        backend: Backend,
        *,
        output_limits: OutputLimits | None = None,
        session_limits: SessionLimits | None = None,
        sweep_s: float = 300.0,
        is_announced: bool = False,
    ) -> None:
        """What an earlier life of `backend` left behind is removed at start; every `sweep_s` seconds, what it has started and no session has.

        `is_announced`: say in the log what code runs in, or why it cannot run.
        """
        self._backend = backend
        self._output_limits = output_limits or OutputLimits()
        self._sessions = Sessions(self._open_session, session_limits or SessionLimits(), open_spare=self._open_spare)
        self._sweep_s = sweep_s
        self._is_announced = is_announced
        self._first_sweep: asyncio.Task[frozenset[str]] | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._opened: list[KernelSession] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self._backend.close)
        await self._stack.enter_async_context(self._sessions)
        self._first_sweep = asyncio.create_task(self._sweep(None))
        self._sweeping = asyncio.create_task(self._sweep_for_ever())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for task in (self._first_sweep, self._sweeping):
            if task is not None:
                task.cancel()
        await self._stack.aclose()

    async def execute(
        self, thread_id: str, code: str, files: Sequence[SandboxFile], timeout_s: float, *, has_run_before: bool = False
    ) -> AsyncGenerator[ExecutionEvent]:
        """See ports.Sandbox. Calls of one thread run one after the other, those of different threads side by side."""
        if any(_FILE_ID.fullmatch(file.file_id) is None for file in files):
            raise SandboxError("A file id has characters that no file id has.")
        if num_before := self._sessions.num_before(thread_id):
            yield Logs(f"[All Python sessions are busy; this call waits for one. It is number {num_before} in the queue.]\n")
        is_new = self._sessions.files_of(thread_id) is None
        async with self._sessions.borrow(thread_id) as (session, why_lost):
            if why_lost is None and has_run_before and is_new:
                why_lost = "the server was started anew"
            try:
                if why_lost is not None:
                    kept = "Its variables are gone; files it made are back in /mnt/data." if any(file.path for file in files) else _ALL_GONE
                    yield Logs(f"[A new Python session: the last one was ended, because {why_lost}. {kept}]\n")
                for problem in await session.put_files(files):
                    yield Logs(f"[{problem}]\n")
                async with aclosing(session.run(code, timeout_s)) as events:
                    async for event in events:
                        yield replace(event, is_state_lost=True) if isinstance(event, ExecutionEnded) and why_lost is not None else event
            finally:
                await session.settle()

    async def files_of(self, thread_id: str) -> frozenset[str] | None:
        return self._sessions.files_of(thread_id)

    async def warm(self) -> None:
        self._sessions.warm()

    async def close(self, thread_id: str) -> None:
        await self._sessions.end(thread_id)

    async def check(self) -> str | None:
        return await self._backend.check()

    async def description(self) -> str:
        """What code runs in, and what is weaker about it than it could be; a sentence without its full stop."""
        return await self._backend.description()

    async def _open_session(self) -> KernelSession:
        return await self._open(preload=False)

    async def _open_spare(self) -> KernelSession:
        return await self._open(preload=True)

    async def _open(self, *, preload: bool) -> KernelSession:
        if self._first_sweep is not None:
            await asyncio.wait([self._first_sweep])  # or it would take our own first process for an earlier server's
        session = await open_session(self._backend, self._output_limits, preload=preload)
        self._opened = [*(each for each in self._opened if each.is_alive), session]
        return session

    async def _announce(self) -> None:
        missing = await self._backend.check()
        if missing is None:
            _log.info("code_interpreter runs in %s", await self._backend.description())
        else:
            _log.warning("%s", missing)

    async def _sweep_for_ever(self) -> None:
        if self._is_announced:
            await self._announce()
        suspects: frozenset[str] = frozenset()
        while True:
            await asyncio.sleep(self._sweep_s)
            suspects = await self._sweep(suspects)

    async def _sweep(self, suspects: frozenset[str] | None) -> frozenset[str]:
        """Remove those of `suspects` (None: all) that are processes of ours and no session's; those that are left.

        A kernel ends with its server, and a session removes its process, unless the engine was cut off. One that is just being opened is no session's yet,
        so a process is only removed when the sweep before saw it, too.
        """
        try:
            strangers = frozenset(await self._backend.list_names()) - {session.process_name for session in self._opened if session.is_alive}
            for name in strangers if suspects is None else strangers & suspects:
                _log.info("removing container %s, which no session has", name[:12])
                await self._backend.remove(name)
        except SandboxError as error:
            _log.info("no look for containers without a session: %s", error.message)
            return frozenset()
        return strangers
