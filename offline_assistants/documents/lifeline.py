"""What a child process does first so that it never outlives the server. Imports next to nothing: a parser child should be up in a blink."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """In the child: be killed when the parent ends, however it ends. Where the system cannot do that, the end of the pipe does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before the line above
        sys.exit(0)
