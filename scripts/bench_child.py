"""A server of a bench in a process of its own: it says its port on its first line, and ends with its stdin."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

START_TIMEOUT_S = 60


@contextmanager
def child_server(script: str, arguments: Callable[[str], list[str]]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process of `script`, whose `arguments` are made from a folder that is gone afterwards, and its port."""
    with tempfile.TemporaryDirectory(prefix="offline-assistants-bench-", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, script, *arguments(folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert process.stdin and process.stdout
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("the server did not come up")
            yield process, int(line)
        finally:
            process.stdin.close()
            process.wait(START_TIMEOUT_S)
