"""Whether a sandbox keeps what it promises: code that tries to break it, how its answer is judged, and what it means when a wall does not hold.

Knows no backend: everything goes through the Sandbox port, and what it does to this machine is read from /proc. The checks themselves are in `attacks.py`.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from offline_assistants.code_interpreter.backend import USER_ID
from offline_assistants.ports import ExecutionEnded, ExecutionEvent, FileMade, Logs, Sandbox

_SETTLE_S = 10.0
"""What an attack left behind may take so long to go away."""
_MAX_LOST_BYTES = 200_000_000
"""Less free disk than before by this much is counted as a loss: others write, too."""
_MAX_LOST_INODES = 50_000
_MAX_GROWN_BYTES = 300_000_000
"""Code may import libraries into its session."""
_NEXT_CALL = "import time\ntime.sleep(0.2)\nprint(6 * 7)"
"""It takes a moment, in which what an attack left behind could answer for it."""
_NEXT_CALL_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Check:
    """One wall."""

    name: str
    """What holds, as a sentence without its full stop."""
    code: str
    answer: str
    """A regular expression: the whole of what the model is told about the call."""
    consequence: str
    """What it means when this does not hold."""
    statuses: frozenset[str] = frozenset({"ok"})
    files: frozenset[str] | None = frozenset()
    """The paths that are handed out; None where that does not matter."""
    timeout_s: float = 20.0
    is_vital: bool = True
    """Code of a model must not run where this does not hold."""
    is_messy: bool = False
    """Ends the session after it, because it fills the session's own room."""
    beforehand: str | None = None
    """Code that another thread runs first."""


@dataclass(frozen=True, slots=True)
class Finding:
    check: Check
    failures: tuple[str, ...]
    """Empty: it holds."""

    @property
    def holds(self) -> bool:
        return not self.failures


@dataclass(frozen=True, slots=True)
class Answer:
    """The events of one call, sorted."""

    text: str
    files: frozenset[str]
    end: ExecutionEnded


@dataclass(frozen=True, slots=True)
class HostState:
    """What the sandbox has of this machine. All zeros where the machine does not say, or another one has the engine."""

    num_processes: int
    """Of the sandbox's own user, in all sessions, and those that this process has started."""
    memory_bytes: int
    """Of those processes, files in memory apart."""
    free_bytes: int
    free_inodes: int
    interfaces: frozenset[str] = field(default_factory=frozenset[str])

    @classmethod
    def now(cls) -> HostState:
        disk = os.statvfs("/")
        network = Path("/sys/class/net")
        interfaces = frozenset(path.name for path in network.iterdir()) if network.is_dir() else frozenset[str]()
        pids = list(_pids_of_the_sandbox())
        memory = sum(_resident_bytes(pid) for pid in pids)
        return cls(len(pids), memory, disk.f_bavail * disk.f_frsize, disk.f_favail, interfaces)

    def losses_since(self, before: HostState) -> list[str]:
        """What is worse now; sentences."""
        losses = [
            (self.num_processes > before.num_processes, f"{self.num_processes - before.num_processes} more processes than before"),
            (self.memory_bytes > before.memory_bytes + _MAX_GROWN_BYTES, f"{(self.memory_bytes - before.memory_bytes) / 1e6:.0f} MB more memory than before"),
            (self.free_bytes < before.free_bytes - _MAX_LOST_BYTES, f"{(before.free_bytes - self.free_bytes) / 1e6:.0f} MB less free disk than before"),
            (self.free_inodes < before.free_inodes - _MAX_LOST_INODES, f"{before.free_inodes - self.free_inodes} fewer free inodes than before"),
            (bool(self.interfaces - before.interfaces), f"new network interfaces: {', '.join(sorted(self.interfaces - before.interfaces))}"),
        ]
        return [sentence for is_lost, sentence in losses if is_lost]


async def run_checks(sandbox: Sandbox, checks: Iterable[Check], *, is_thorough: bool) -> AsyncGenerator[Finding]:
    """A finding for each check, as they come. `is_thorough`: after each, the next call must work and this machine be as before.

    Raises SandboxUnavailable, SandboxError. Sessions that it opened are closed when it ends.
    """
    thread_id, other_id = (f"thread_check_{uuid.uuid4().hex}" for _ in range(2))
    try:
        await _answer(sandbox, thread_id, "", _NEXT_CALL_TIMEOUT_S)
        for check in checks:
            if check.beforehand is not None:
                await _answer(sandbox, other_id, check.beforehand, _NEXT_CALL_TIMEOUT_S)
            before = HostState.now()
            failures = judge(check, await _answer(sandbox, thread_id, check.code, check.timeout_s))
            if is_thorough:
                failures += await _aftermath(sandbox, thread_id, before, is_messy=check.is_messy)
            elif check.is_messy:
                await sandbox.close(thread_id)
            yield Finding(check, tuple(failures))
    finally:
        await sandbox.close(thread_id)
        await sandbox.close(other_id)


def judge(check: Check, answer: Answer) -> list[str]:
    """What is wrong with the answer; sentences. Pure."""
    failures: list[str] = []
    if answer.end.status not in check.statuses:
        failures.append(f"the call ended with {answer.end.status!r}")
    if re.fullmatch(check.answer, answer.text, re.DOTALL) is None:
        failures.append(f"it said {_shortened(answer.text)!r}")
    if check.files is not None and answer.files != check.files:
        failures.append(f"files came out: {sorted(answer.files)}")
    if answer.end.is_state_lost and "ariables" not in answer.text:
        failures.append("variables were lost, and the model was not told")
    return failures


async def _aftermath(sandbox: Sandbox, thread_id: str, before: HostState, *, is_messy: bool) -> list[str]:
    failures: list[str] = []
    if is_messy:
        await sandbox.close(thread_id)
    following = await _answer(sandbox, thread_id, _NEXT_CALL, _NEXT_CALL_TIMEOUT_S)
    if following.end.status != "ok" or not following.text.endswith("42\n"):
        failures.append(f"the next call failed: {_shortened(following.text)!r}")
    deadline = time.monotonic() + _SETTLE_S
    while True:
        losses = HostState.now().losses_since(before)
        if not losses or time.monotonic() > deadline:
            return failures + losses
        await asyncio.sleep(0.1)


async def _answer(sandbox: Sandbox, thread_id: str, code: str, timeout_s: float) -> Answer:
    events: Sequence[ExecutionEvent] = [event async for event in sandbox.execute(thread_id, code, [], timeout_s)]
    text = "".join(event.text for event in events if isinstance(event, Logs))
    end = next((event for event in reversed(events) if isinstance(event, ExecutionEnded)), ExecutionEnded("crashed"))
    files = frozenset(event.path for event in events if isinstance(event, FileMade))
    return Answer(text, files, end)


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:150]} ... {text[-150:]}"


def _pids_of_the_sandbox() -> Iterable[str]:
    """Living processes of the sandbox's user, and our own children with all of theirs: in bubblewrap, code may run as the user that we are.

    From `status`: the folder of a process that is not dumpable belongs to root.
    """
    parents, living = dict[str, str](), dict[str, bool]()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status = (path / "status").read_text()
        except OSError:
            continue
        if re.search(r"^State:\s+[ZX]", status, re.MULTILINE) or (found := re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE)) is None:
            continue
        parents[path.name] = found[1]
        living[path.name] = re.search(rf"^Uid:\s+{USER_ID}\b", status, re.MULTILINE) is not None
    return [pid for pid, is_of_user in living.items() if is_of_user or _is_below(pid, str(os.getpid()), parents)]


def _is_below(pid: str, ancestor: str, parents: Mapping[str, str]) -> bool:
    while (parent := parents.get(pid)) is not None:
        if parent == ancestor:
            return True
        pid = parent
    return False


def _resident_bytes(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
