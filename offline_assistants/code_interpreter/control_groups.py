"""Limits of memory, processes and processors for a process and all that it starts, as Linux counts them: control groups, version 1 or 2.

Where this user may make groups, a session has one of its own. Where it may not, systemd is asked to make one. Blocks, for microseconds mostly.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from offline_assistants.code_interpreter.backend import SandboxLimits
from offline_assistants.errors import SandboxError

_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = ("memory", "pids", "cpu")
_PERIOD_US = 100_000
GROUP_PREFIX = "offline-assistants-"
_EMPTY_TIMEOUT_S = 5.0
_SYSTEMD_TIMEOUT_S = 10.0
_JOIN = 'while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'
"""A shell enters the groups before it becomes the command, so nothing of the command ever runs outside."""


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A group of one session; in version 1 a folder for each controller."""

    name: str
    folders: tuple[Path, ...]

    @property
    def memory_events(self) -> Path | None:
        """The file that counts how often the memory limit has killed."""
        files = [folder / name for folder in self.folders for name in ("memory.oom_control", "memory.events")]
        return next((file for file in files if file.exists()), None)

    def entered_by(self, command: list[str]) -> list[str]:
        """`command`, run inside."""
        return ["/bin/sh", "-c", _JOIN, "sh", *map(str, self.folders), "--", *command]

    def remove(self) -> None:
        """Kill all that is inside, and remove the group; one that is gone is no error. Raises SandboxError when it stays."""
        deadline = time.monotonic() + _EMPTY_TIMEOUT_S
        while any(folder.exists() for folder in self.folders):
            for folder in self.folders:
                _kill_all_in(folder)
                with contextlib.suppress(OSError):  # somebody in it still dies, or it is gone: the loop's condition tells
                    folder.rmdir()
            if time.monotonic() > deadline:
                raise SandboxError(f"The control group {self.name} cannot be removed.")
            time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class ControlGroups:
    """Where groups can be made: the parents of those of one instance, one parent for each controller in version 1."""

    parents: tuple[Path, ...]
    prefix: str

    def make(self, number: int, limits: SandboxLimits) -> ControlGroup:
        """An empty group with its limits set. Raises SandboxError."""
        group = self._group(f"{self.prefix}{os.getpid()}-{number}")
        try:
            for folder in group.folders:
                folder.mkdir()
                _limit(folder, limits)
        except OSError as error:
            group.remove()
            raise SandboxError(f"The limits of a session cannot be set: {error}.") from error
        return group

    def list_names(self) -> list[str]:
        return sorted({folder.name for parent in self.parents for folder in parent.glob(f"{self.prefix}*")})

    def remove(self, name: str) -> None:
        """Raises SandboxError."""
        self._group(name).remove()

    def _group(self, name: str) -> ControlGroup:
        return ControlGroup(name, tuple(parent / name for parent in self.parents))


def find_control_groups(instance_id: str, *, root: Path = _ROOT) -> ControlGroups | None:
    """Where this process may make groups with limits; None where it may not."""
    parents = _unified_parents(root) if (root / "cgroup.controllers").exists() else _separate_parents(root)
    if parents is None or not all(os.access(parent, os.W_OK) for parent in parents):
        return None
    _remove_abandoned(parents)
    return ControlGroups(parents, f"{GROUP_PREFIX}{instance_id}-")


def _remove_abandoned(parents: tuple[Path, ...]) -> None:
    """Empty groups of processes that are gone, whatever their instance: of a check that was killed, nobody else would ever know."""
    for folder in (folder for parent in parents for folder in parent.glob(f"{GROUP_PREFIX}*")):
        maker = re.search(r"-(\d+)-\d+$", folder.name)
        if maker is not None and not Path("/proc", maker[1]).exists():
            with contextlib.suppress(OSError):  # somebody is in it, or it is gone
                folder.rmdir()


def systemd_scope(limits: SandboxLimits) -> list[str] | None:
    """What stands before a command so that systemd gives it a group with limits; None where it does not. Asks it, so it may take some seconds."""
    command = ["systemd-run", *([] if os.geteuid() == 0 else ["--user"]), "--scope", "--quiet", "--collect"]
    command += ["-p", f"MemoryMax={limits.memory_mb}M", "-p", "MemorySwapMax=0", "-p", f"TasksMax={limits.pids}", "-p", f"CPUQuota={round(limits.cpus * 100)}%"]
    try:
        tried = subprocess.run([*command, "--", "true"], capture_output=True, stdin=subprocess.DEVNULL, timeout=_SYSTEMD_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return [*command, "--"] if tried.returncode == 0 else None


def _unified_parents(root: Path) -> tuple[Path, ...] | None:
    """Version 2: the top of the hierarchy, once its children have the controllers. Below it, a group with processes can have no such children."""
    children = root / "cgroup.subtree_control"
    try:
        missing = set(_CONTROLLERS) - set(children.read_text().split())
        if missing:
            children.write_text(" ".join(f"+{name}" for name in sorted(missing)))
        return (root,) if set(_CONTROLLERS) <= set(children.read_text().split()) else None
    except OSError:
        return None


def _separate_parents(root: Path) -> tuple[Path, ...] | None:
    """Version 1: each controller has a hierarchy, in which our groups stand below our own, so that limits of the server hold for them, too."""
    try:
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return None
    own = {name: path for _, names, path in lines for name in names.split(",")}
    parents: list[Path] = []
    for name in _CONTROLLERS:
        nested, top = root / name / own.get(name, "/").lstrip("/"), root / name
        parent = nested if nested.is_dir() else top
        if not parent.is_dir():
            return None
        parents.append(parent)
    return tuple(parents)


def _limit(folder: Path, limits: SandboxLimits) -> None:
    """Write what the folder's controllers take. Raises OSError."""
    num_bytes, quota_us = limits.memory_mb * 1024 * 1024, round(limits.cpus * _PERIOD_US)
    values = {
        "memory.limit_in_bytes": num_bytes,
        "memory.memsw.limit_in_bytes": num_bytes,
        "memory.max": num_bytes,
        "memory.swap.max": 0,
        "pids.max": limits.pids,
        "cpu.cfs_period_us": _PERIOD_US,
        "cpu.cfs_quota_us": quota_us,
        "cpu.max": f"{quota_us} {_PERIOD_US}",
    }
    for name, value in values.items():
        if (folder / name).exists():
            (folder / name).write_text(str(value))


def _kill_all_in(folder: Path) -> None:
    with contextlib.suppress(OSError, ValueError):  # the group went meanwhile; whether anybody is left is seen by who removes it
        for line in (folder / "cgroup.procs").read_text().splitlines():
            with contextlib.suppress(ProcessLookupError):  # it ended before we came to it
                os.kill(int(line), signal.SIGKILL)
