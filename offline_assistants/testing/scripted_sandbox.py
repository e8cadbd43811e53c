"""A Sandbox that runs nothing: it plays back what a test said the code would do, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from offline_assistants.errors import SandboxUnavailable
from offline_assistants.ports import ExecutionEnded, ExecutionEvent, SandboxFile

Script = Sequence[ExecutionEvent] | Callable[[str], Sequence[ExecutionEvent]]
"""The events of one call, or a function from its code to them. An ExecutionEnded that is left out is added, with "ok"."""


@dataclass(frozen=True, slots=True)
class SandboxCall:
    thread_id: str
    code: str
    file_ids: tuple[str, ...]
    timeout_s: float
    restored: tuple[str, ...] = ()
    """The paths of files from earlier sessions."""
    has_run_before: bool = False


class ScriptedSandbox:
    """Calls without a script end with "ok" and nothing else. `missing` is what `check` answers; while it is set, `execute` raises SandboxUnavailable."""

    def __init__(self, *, delay_s: float = 0.0) -> None:
        """`delay_s` passes before each event."""
        self.calls: list[SandboxCall] = []
        self.closed_thread_ids: list[str] = []
        self.num_interrupted = 0
        self.num_warmed = 0
        self.restored: dict[str, bytes] = {}
        """Path -> content of the files from earlier sessions that a call was given."""
        self._sessions: dict[str, frozenset[str]] = {}
        self.missing: str | None = None
        self._delay_s = delay_s
        self._scripts: deque[Script] = deque()
        self._always: Script = ()

    def will_emit(self, script: Script) -> None:
        """For the next call that has no script yet."""
        self._scripts.append(script)

    def will_always_emit(self, script: Script) -> None:
        """For every call that has no script of its own."""
        self._always = script

    def lose_sessions(self) -> None:
        """As when the server is started anew."""
        self._sessions.clear()

    async def execute(
        self, thread_id: str, code: str, files: Sequence[SandboxFile], timeout_s: float, *, has_run_before: bool = False
    ) -> AsyncGenerator[ExecutionEvent]:
        if self.missing is not None:
            raise SandboxUnavailable(self.missing)
        given = {file.path: file.content for file in files if file.path is not None}
        self.restored |= given
        file_ids = tuple(file.file_id for file in files if file.path is None)
        self._sessions[thread_id] = self._sessions.get(thread_id, frozenset[str]()) | set(file_ids)
        self.calls.append(SandboxCall(thread_id, code, file_ids, timeout_s, tuple(given), has_run_before))
        script = self._scripts.popleft() if self._scripts else self._always
        events = list(script(code) if callable(script) else script)
        if not events or not isinstance(events[-1], ExecutionEnded):
            events.append(ExecutionEnded("ok"))
        is_over = False
        try:
            for event in events:
                await asyncio.sleep(self._delay_s)
                is_over = isinstance(event, ExecutionEnded)
                yield event
        finally:
            self.num_interrupted += not is_over

    async def files_of(self, thread_id: str) -> frozenset[str] | None:
        return self._sessions.get(thread_id)

    async def warm(self) -> None:
        self.num_warmed += 1

    async def close(self, thread_id: str) -> None:
        self._sessions.pop(thread_id, None)
        self.closed_thread_ids.append(thread_id)

    async def check(self) -> str | None:
        return self.missing
