"""Starting a child process of this package, and what a child does first so that it never outlives the server."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1
_SHUTDOWN_S = 2.0
_TAIL_BYTES = 4096


async def spawn_child(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> asyncio.subprocess.Process:
    """`python -m module arguments`, its three streams as pipes, importing the very package that the server runs. Raises OSError.

    `-P` keeps the current directory off the import path; a program's own PYTHON* variables do not reach the child.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-B",
        "-m",
        module,
        f"--parent={os.getpid()}",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**inherited, "PYTHONPATH": str(_PACKAGE_ROOT), **(environment or {})},
        start_new_session=True,  # a Ctrl-C in the server's terminal is the server's to deal with
    )


async def end_child(process: asyncio.subprocess.Process, *, grace_s: float = _SHUTDOWN_S) -> None:
    """Close its input, wait a moment, then kill; returns when the process is gone."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(grace_s):
            await process.wait()
    except TimeoutError:
        await kill_child(process)


async def kill_child(process: asyncio.subprocess.Process) -> None:
    """Kill at once; returns when the process is gone."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def read_tail(stream: asyncio.StreamReader) -> str:
    """The last lines of a stream, once it has ended. Reading all the while keeps the child from waiting for a full pipe."""
    tail = b""
    while piece := await stream.read(_TAIL_BYTES):
        tail = (tail + piece)[-_TAIL_BYTES:]
    return tail.decode("utf-8", "replace").strip()


def die_with_parent(parent_pid: int) -> None:
    """In the child: be killed when the parent ends, however it ends. Where the system cannot do that, the end of the pipe does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before the line above
        sys.exit(0)
