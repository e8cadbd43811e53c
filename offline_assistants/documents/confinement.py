"""How a parser's process is shut in before it sees its file: no network, no file to write, no more memory or time than its limits. Linux and POSIX."""

from __future__ import annotations

import ctypes
import platform
import resource
import struct
import sys

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_SYSCALLS = {"x86_64": (0xC000003E, 41, 425), "aarch64": (0xC00000B7, 198, 425)}
"""AUDIT_ARCH of seccomp_data.arch, and the numbers of socket and io_uring_setup, per machine."""
_LOAD, _IS_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCH_AT = 0, 4
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050001
"""The last is SECCOMP_RET_ERRNO with EPERM."""


def confine(*, memory_bytes: int, cpu_s: int) -> str:
    """Shut this process in, for good, and the processes that it starts. Returns how it is kept from the network: "namespace", "filter" or "nothing"."""
    network = _leave_network()
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(limit, (value, value))
    return network


def _leave_network() -> str:
    if sys.platform != "linux":
        return "nothing"
    libc = ctypes.CDLL(None, use_errno=True)
    # A network namespace of its own has no way out. A container may not permit one: there the kernel is asked to refuse sockets instead.
    if libc.unshare(_CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        return "namespace"
    return "filter" if refuse_sockets(libc) else "nothing"


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def refuse_sockets(libc: ctypes.CDLL) -> bool:
    """Whether the kernel took a filter (linux/seccomp.h) with which this process can open no socket any more."""
    if platform.machine() not in _SYSCALLS:
        return False
    architecture, *refused = _SYSCALLS[platform.machine()]
    instructions = (
        (_LOAD, 0, 0, _ARCH_AT),
        (_IS_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),  # a call by the numbers of another architecture
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IS_EQUAL, 1, 0, refused[0]),
        (_IS_EQUAL, 0, 1, refused[1]),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    )
    program = _Program(len(instructions), b"".join(struct.pack("=HBBI", *each) for each in instructions))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program)) == 0
