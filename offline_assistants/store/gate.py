"""A gate for threads: many may be inside at once; who shuts it waits until all have left, and lets nobody in meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager


class Gate:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_inside = 0
        self._is_shut = False

    @contextmanager
    def inside(self) -> Generator[None]:
        """Not to be entered twice by one thread: it would wait for itself."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_shut)
            self._num_inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_inside -= 1
                self._changed.notify_all()

    @contextmanager
    def shut(self) -> Generator[None]:
        """For one thread at a time."""
        with self._changed:
            self._is_shut = True
            self._changed.wait_for(lambda: self._num_inside == 0)
        try:
            yield
        finally:
            with self._changed:
                self._is_shut = False
                self._changed.notify_all()
