"""The processes of the container, as PID 1 sees them: ending them, starting one, burying the dead. Knows nothing of frames and cells."""

from __future__ import annotations

import ctypes
import os
import signal
import time

_NUM_FORK_ATTEMPTS = 500
_PR_SET_DUMPABLE = 4


def kill_all_but(*spared_pids: int) -> None:
    """End every process of the code's. A swarm that forks faster than it dies is ended together with the spared."""
    for _ in range(50):
        found = others(*spared_pids)
        if not found:
            return
        for pid in found:
            kill(pid)
        time.sleep(0.002)
    os.kill(-1, signal.SIGKILL)


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended by itself


def others(*spared_pids: int) -> list[int]:
    """The living processes of the container. Empty unless we are PID 1: nowhere else is every visible process the code's."""
    if os.getpid() != 1:
        return []
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    return [pid for pid in pids if pid != 1 and pid not in spared_pids and not _is_zombie(pid)]


def identity(file: int) -> tuple[int, int]:
    """What descriptor `file` leads to, as it is known in every process."""
    info = os.fstat(file)
    return info.st_dev, info.st_ino


def holders(pids: list[int], sought: tuple[int, int]) -> list[int]:
    """Those of `pids` that have `sought` open, or do not let us look."""
    return [pid for pid in pids if _may_hold(pid, sought)]


def _may_hold(pid: int, sought: tuple[int, int]) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):
            try:
                info = os.stat(f"{folder}/{name}")
            except FileNotFoundError:
                continue  # closed meanwhile
            if (info.st_dev, info.st_ino) == sought:
                return True
    except FileNotFoundError:
        return False  # it ended
    except OSError:
        return True
    return False


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] in b"ZX"
    except OSError:
        return True


def fork_among_the_dying() -> int:
    """os.fork, also right after a fork bomb, whose dead hold their places until they are buried. Raises OSError when there is still no place."""
    for _ in range(_NUM_FORK_ATTEMPTS):
        try:
            return os.fork()
        except BlockingIOError:
            kill_all_but()
            time.sleep(0.01)
            while _bury_one():
                pass  # each that is buried makes room
    return os.fork()


def _bury_one() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def count_oom_kills() -> int:
    """How often this container's memory limit has killed; cgroup v1 and v2. 0 where the system does not say."""
    for path in ("/sys/fs/cgroup/memory/memory.oom_control", "/sys/fs/cgroup/memory.events"):
        try:
            with open(path) as file:
                return next(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
        except (OSError, StopIteration):
            continue
    return 0


def set_dumpable(is_dumpable: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, int(is_dumpable), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")
