"""Commands as a user types them: in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMAND = (sys.executable, "-m", "offline_assistants")


def command(*arguments: str | Path, stdin: str = "", timeout_s: float = 60, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end. Its terminal is 200 columns wide, so that lines stay whole. On a busy machine the models take most of `timeout_s` to load."""
    environment = {**os.environ, "COLUMNS": "200", **variables}
    return subprocess.run([*COMMAND, *arguments], input=stdin, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)


def begin(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start it, with nothing on its stdin, and go on."""
    return subprocess.Popen([*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
