"""Conversations with a sandbox, for the tests of those that run code: one thread's calls, and what came of each."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from offline_assistants.code_interpreter.kernel_protocol import OutputLimits
from offline_assistants.code_interpreter.session_sandbox import SessionSandbox
from offline_assistants.ports import ExecutionEnded, ExecutionEvent, FileMade, Image, Logs, SandboxFile

LIMITS = OutputLimits(log_chars=20_000, images=3, image_bytes=5_000_000, files=10, file_bytes=20_000_000, total_file_bytes=30_000_000)


class Conversation:
    """One thread's code, run in its session."""

    def __init__(self, sandbox: SessionSandbox) -> None:
        self.sandbox = sandbox
        self.thread_id = f"thread_{uuid.uuid4().hex}"

    async def run(self, code: str, *, files: Sequence[SandboxFile] = (), timeout_s: float = 30.0, has_run_before: bool = False) -> Outcome:
        return Outcome([event async for event in self.sandbox.execute(self.thread_id, code, files, timeout_s, has_run_before=has_run_before)])


class Outcome:
    """The events of one call, sorted."""

    def __init__(self, events: list[ExecutionEvent]) -> None:
        self.events = events
        assert isinstance(events[-1], ExecutionEnded)
        self.end = events[-1]
        self.text = "".join(event.text for event in events if isinstance(event, Logs))
        self.images = [event.content for event in events if isinstance(event, Image)]
        self.files = {event.path: event.content for event in events if isinstance(event, FileMade)}
