"""What runs first inside of bubblewrap: finishes the walls that bubblewrap has no option for, gives up every power, and becomes the kernel.

The host hands the text of this file to the image's own Python, so it uses the standard library only. Nothing that a model wrote has run yet.
Whatever fails here ends the process before any code can run.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 8, 32, 4096
_KERNEL_SETTINGS = ("/proc/sys", "/proc/fs", "/proc/irq", "/proc/bus", "/proc/sysrq-trigger")
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 22, 24, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
_MAX_CAPABILITY = 63
_MAX_DESCRIPTORS = 4096
_libc = ctypes.CDLL(None, use_errno=True)


class _FilterProgram(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("num_instructions", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def main(plan: dict[str, Any]) -> None:
    """Never returns. `plan`: folders (path to tmpfs options), user_id, limits (name of RLIMIT_* to value), seccomp (base64), command, environment, ..."""
    for path, options in plan["folders"].items():
        _must(_libc.mount(b"tmpfs", path.encode(), b"tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, options.encode()), f"mount of {path}")
    for path in filter(os.path.exists, _KERNEL_SETTINGS):
        _make_read_only(path)
    _give_up_powers(plan["user_id"])
    for name, value in plan["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # becoming another user has undone it
    os.closerange(3, _MAX_DESCRIPTORS)
    os.chdir(plan["working_folder"])
    _confine(base64.b64decode(plan["seccomp"]))
    os.execve(plan["command"][0], plan["command"], plan["environment"])  # noqa: S606  the kernel takes our place as PID 1


def _make_read_only(path: str) -> None:
    _must(_libc.mount(path.encode(), path.encode(), None, _MS_BIND, None), f"mount of {path}")
    flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _must(_libc.mount(None, path.encode(), None, flags, None), f"mount of {path}")


def _give_up_powers(user_id: int) -> None:
    """As root of this machine: become somebody else. As a user whose namespace this is, we are somebody else already."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(user_id, user_id, user_id)
    for capability in range(_MAX_CAPABILITY + 1):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # past the last one that this system has
    if os.getuid() == 0:
        os.setresuid(user_id, user_id, user_id)
    if os.getresuid() != (user_id,) * 3 or os.getresgid() != (user_id,) * 3:
        raise PermissionError("not the user that code runs as")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    _must(_libc.capset(header, sets), "capset")
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    left = [line for line in status if line.startswith("Cap") and int(line.split()[1], 16)]
    if left:
        raise PermissionError(f"powers are left: {left}")


def _confine(program: bytes) -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    filter_program = _FilterProgram(len(program) // 8, program)
    _must(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filter_program), 0, 0), "seccomp")


def _prctl(option: int, value: int) -> None:
    _must(_libc.prctl(option, value, 0, 0, 0), f"prctl({option})")


def _must(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
