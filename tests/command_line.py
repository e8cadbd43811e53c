"""Commands as a user types them: in processes of their own."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

COMMAND = (sys.executable, "-m", "offline_assistants")


def command(*arguments: str | Path, stdin: str = "", timeout_s: float = 60, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end. Its terminal is 200 columns wide, so that lines stay whole. On a busy machine the models take most of `timeout_s` to load."""
    environment = {**os.environ, "COLUMNS": "200", **variables}
    return subprocess.run([*COMMAND, *arguments], input=stdin, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)


def on_a_terminal(*arguments: str | Path, timeout_s: float = 60) -> tuple[int, str]:
    """Exit code, and what a person at a terminal sees of it."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "200"}) as process:
        os.close(theirs)
        shown, deadline = b"", time.monotonic() + timeout_s
        with os.fdopen(ours, "rb", buffering=0) as terminal, suppress(OSError):  # which is how a terminal ends
            while time.monotonic() < deadline and (seen := terminal.read(4096) if select.select([ours], [], [], 1)[0] else b" "):
                shown += seen
        if time.monotonic() > deadline:
            process.kill()
    return process.returncode, shown.decode(errors="replace")


def begin(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start it, with nothing on its stdin, and go on."""
    return subprocess.Popen([*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
