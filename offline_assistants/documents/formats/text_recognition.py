"""Text in pictures, through the program tesseract where the machine has it. Its own process, under the limits of the parser that starts it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

_PAGE_TIMEOUT_S = 60.0
_MAX_LANGUAGES = 4
"""Each that is tried takes its time: with more than these installed, English is taken unless others are asked for."""
_NO_LANGUAGES = frozenset({"osd", "equ", "snum"})


class TextRecognition:
    """`languages` as tesseract names them, joined by "+"; empty: those that are installed. `before_start` runs in the new process first."""

    def __init__(self, languages: str = "", *, before_start: Callable[[], None] | None = None) -> None:
        self._program = shutil.which("tesseract")
        self._languages = languages
        self._before_start = before_start

    @property
    def is_there(self) -> bool:
        return self._program is not None

    def read(self, width: int, height: int, grey: bytes) -> str:
        """The text in a picture of grey values, row by row; empty where none is found."""
        if self._program is None:
            return ""
        self._languages = self._languages or self._installed()
        picture = b"P5\n%d %d\n255\n" % (width, height) + grey
        return self._run("stdin", "stdout", "-l", self._languages, "--dpi", "200", given=picture)

    def _installed(self) -> str:
        languages = [line for line in self._run("--list-langs").splitlines()[1:] if line and line not in _NO_LANGUAGES]
        return "+".join(languages) if 0 < len(languages) <= _MAX_LANGUAGES else "eng"

    def _run(self, *arguments: str, given: bytes = b"") -> str:
        assert self._program
        try:
            done = subprocess.run(
                [self._program, *arguments],
                input=given,
                capture_output=True,
                timeout=_PAGE_TIMEOUT_S,
                check=False,
                env={**os.environ, "OMP_THREAD_LIMIT": "1"},
                preexec_fn=self._before_start,  # the parser has one thread only
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
