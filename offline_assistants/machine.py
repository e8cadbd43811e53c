"""What this machine has to give: memory that is free, for this process and inside its container."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def free_memory(proc: Path = Path("/proc"), cgroups: Path = _CGROUPS) -> int | None:
    """Bytes that may still be taken: what the kernel calls available, or less where a control group sets a limit. None where nothing tells."""
    found = [available_memory(proc), *(limit - used for limit, used in _limits(proc, cgroups))]
    known = [each for each in found if each is not None]
    return max(0, min(known)) if known else None


def available_memory(proc: Path = Path("/proc")) -> int | None:
    """MemAvailable, in bytes: what can be had without swapping, the page cache counted as free."""
    return _kilobytes(proc / "meminfo", "MemAvailable")


def mapped_memory(process_id: int, proc: Path = Path("/proc")) -> int:
    """Bytes of files that a process has in memory: weights, which the kernel calls available although they are in use."""
    return _kilobytes(proc / str(process_id) / "status", "RssFile") or 0


def resident_memory(process_id: int, proc: Path = Path("/proc")) -> int:
    """Bytes of memory that a process has; 0 when it is gone."""
    return _kilobytes(proc / str(process_id) / "status", "VmRSS") or 0


def _limits(proc: Path, cgroups: Path) -> Iterator[tuple[int, int]]:
    """Limit and use of each control group that this process is in, from its own up to the root; version 2, then version 1."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, name = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            yield from _limits_of(cgroups, name, "memory.max", "memory.current", ("inactive_file", "active_file"))
        elif "memory" in controllers.split(","):
            yield from _limits_of(cgroups / "memory", name, "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))


def _limits_of(root: Path, name: str, limit: str, usage: str, caches: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    folder = root / name.strip("/")
    # Inside a container the group's own name may lead nowhere: then its files are at the root.
    for place in dict.fromkeys([folder, *folder.parents, root]):
        if not place.is_relative_to(root):
            continue
        most, used = _read(place / limit).strip(), _read(place / usage).strip()
        if most.isdigit() and used.isdigit():
            stat = (line.split() for line in _read(place / "memory.stat").splitlines())
            yield int(most), int(used) - sum(int(value) for name, value in stat if name in caches)


def _kilobytes(path: Path, name: str) -> int | None:
    for line in _read(path).splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def busy_share(seconds: float = 0.5) -> float:
    """How much of the processors' time is used, 0 to 1, measured for so long; 0 when nothing tells."""
    before = _processor_times()
    time.sleep(seconds)
    after = _processor_times()
    if before is None or after is None or after[1] <= before[1]:
        return 0.0
    return (after[0] - before[0]) / (after[1] - before[1])


def _processor_times() -> tuple[int, int] | None:
    """Used, and in all, since the machine began (Linux: /proc/stat)."""
    try:
        times = [int(number) for number in Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    # The fourth is idle, the fifth waits for a disk.
    return sum(times) - sum(times[3:5]), sum(times)
