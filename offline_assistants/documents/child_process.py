"""Starting a child process of this package, and ending it. Its side of the bond is in lifeline.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_SHUTDOWN_S = 2.0
_TAIL_BYTES = 4096


async def spawn_child(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> asyncio.subprocess.Process:
    """`python -m module PID arguments`, its three streams as pipes, importing the very package that the server runs. Raises OSError.

    PID is the server's process id. `-P` keeps the current directory off the import path; PYTHON* variables of the server's do not reach the child.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-B",
        "-m",
        module,
        str(os.getpid()),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**inherited, **_import_path(), **(environment or {})},
        start_new_session=True,  # a Ctrl-C in the server's terminal is the server's to deal with
    )


def _import_path() -> dict[str, str]:
    """What makes a package that is not installed importable. One that is needs nothing, and its neighbours must not come before the standard library."""
    return {} if _PACKAGE_ROOT.name in {"site-packages", "dist-packages"} else {"PYTHONPATH": str(_PACKAGE_ROOT)}


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
            os.kill(process.pid, signal.SIGKILL)  # process.kill() would reap a child that has just died, and asyncio not learn of what
        await process.wait()


async def read_tail(stream: asyncio.StreamReader) -> str:
    """The last lines of a stream, once it has ended. Reading all the while keeps the child from waiting for a full pipe."""
    tail = b""
    while piece := await stream.read(_TAIL_BYTES):
        tail = (tail + piece)[-_TAIL_BYTES:]
    return tail.decode("utf-8", "replace").strip()
