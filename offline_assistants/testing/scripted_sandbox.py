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


class ScriptedSandbox:
    """Calls without a script end with "ok" and nothing else. `missing` is what `check` answers; while it is set, `execute` raises SandboxUnavailable."""

    def __init__(self, *, delay_s: float = 0.0) -> None:
        """`delay_s` passes before each event."""
        self.calls: list[SandboxCall] = []
        self.closed_thread_ids: list[str] = []
        self.num_interrupted = 0
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

    async def execute(self, thread_id: str, code: str, files: Sequence[SandboxFile], timeout_s: float) -> AsyncGenerator[ExecutionEvent]:
        if self.missing is not None:
            raise SandboxUnavailable(self.missing)
        self.calls.append(SandboxCall(thread_id, code, tuple(file.file_id for file in files), timeout_s))
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

    async def close(self, thread_id: str) -> None:
        self.closed_thread_ids.append(thread_id)

    async def check(self) -> str | None:
        return self.missing
