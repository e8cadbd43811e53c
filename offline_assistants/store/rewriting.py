"""When the database gets a fresh file, so that the text of deleted objects is gone from the disk. Runs on the write thread, and copies on one of its own.

    deleted ──idle──▶ copying ──copied──▶ what was written meanwhile goes into the copy ──▶ the copy is the database

Requests go on all the time; only the last step makes them wait. That text is to be gone is itself in the database, so a crash forgets nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from offline_assistants.store.changes import Draft, Row
from offline_assistants.store.database import Database, FreshCopy, translated
from offline_assistants.store.tables import ActiveRun, Name

_log = logging.getLogger(__name__)

PAUSES_PER_COPY = 10
"""After a copy there is none for ten times as long as it took: text is gone late rather than the disk always busy."""
MAX_MISSED_BYTES = 256 * 2**20
"""Of what is written while a copy is made, and has to be in memory until it is in the copy."""

Settle = Callable[[FreshCopy], None]
"""Writes into a copy that nothing in it is dead."""
Flush = Callable[[FreshCopy, "Missed"], None]
"""Writes into a copy what it has missed."""


class Missed:
    """What was committed since a copy began: the outcome of all transactions as if they were one."""

    def __init__(self) -> None:
        self.rows: dict[Name, Row] = {}
        self.deleted: set[Name] = set()
        self.num_bytes = 0

    def add(self, rows: Mapping[Name, Row | None], deleted: set[Name]) -> None:
        for name in deleted:
            self.deleted.add(name)
            self.rows.pop(name, None)
        for name, row in rows.items():
            if row is None:
                continue
            earlier = self.rows.get(name)
            self.rows[name] = replace(row, seq=earlier.seq) if earlier else row  # a change of an object keeps its place
            self.num_bytes += len(row.doc)


class Rewriting:
    def __init__(self, database: Database, *, before: Callable[[], None], settle: Settle, flush: Flush, has_room: Callable[[int], bool], is_due: bool) -> None:
        """`before` is called before each copy, on its thread; `has_room` says whether so many bytes more find room on the disk.

        `is_due`: an earlier process had text to be rid of.
        """
        self.is_due = is_due
        self._database = database
        self._before = before
        self._settle = settle
        self._flush = flush
        self._has_room = has_room
        self._copying: _Copying | None = None
        self._not_before = 0.0

    def note(self, draft: Draft) -> None:
        """A transaction was committed."""
        self.is_due = self.is_due or has_text(draft.deleted)
        if self._copying is not None:
            self._copying.missed.add(draft.rows, draft.deleted)

    def go_on(self) -> bool:
        """Do what can be done now without letting anybody wait for long. Returns whether there is more to do later. Raises StoreError."""
        if self._copying is None:
            if not self.is_due:
                return False
            if time.monotonic() >= self._not_before and self._has_room(self._database.size):
                self._begin()
        elif self._copying.missed.num_bytes > MAX_MISSED_BYTES:
            self.stop()
        elif not self._copying.is_under_way:
            self._end(self._copying)
        return self.is_due or self._copying is not None

    def finish(self) -> None:
        """All at once, however long it takes. Raises StoreError."""
        if self._copying is None:
            self._begin()
        if self._copying is not None:
            self._copying.wait()
            self._end(self._copying)

    def stop(self) -> None:
        """Leave it for another time."""
        if self._copying is not None:
            self._give_up(self._copying)

    def _begin(self) -> None:
        with translated():
            self._copying = _Copying(self._database.begin_copy(), self._before, self._settle)
        self.is_due = False  # unless something is deleted from here on

    def _end(self, copying: _Copying) -> None:
        """Raises StoreError; then the database is as it was, or lost to this process."""
        began = time.monotonic()
        try:
            with translated():
                copying.check()
                if copying.missed.rows or copying.missed.deleted:
                    with copying.copy.transaction():
                        self._flush(copying.copy, copying.missed)
                self._database.replace_by(copying.copy)
        except BaseException:
            self._give_up(copying)
            raise
        self._copying = None
        self._rest(copying)
        _log.info("the database was written anew in %.2f s, of which %.3f s nobody could write", copying.duration_s, time.monotonic() - began)

    def _give_up(self, copying: _Copying) -> None:
        copying.cancel()
        self._copying = None
        self.is_due = True
        self._rest(copying)

    def _rest(self, copying: _Copying) -> None:
        self._not_before = time.monotonic() + PAUSES_PER_COPY * copying.duration_s


class _Copying:
    """A copy that is being made on a thread of its own."""

    def __init__(self, copy: FreshCopy, before: Callable[[], None], settle: Settle) -> None:
        self.copy = copy
        self.missed = Missed()
        self.duration_s = 0.0
        self._before = before
        self._settle = settle
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._make, name="store-copy", daemon=True)
        self._thread.start()

    @property
    def is_under_way(self) -> bool:
        return self._thread.is_alive()

    def wait(self) -> None:
        self._thread.join()

    def check(self) -> None:
        """Raises what ended the copy."""
        if self._failure is not None:
            raise self._failure

    def cancel(self) -> None:
        """Leave nothing of it."""
        if self.is_under_way:
            self.copy.cancel()
            self.wait()
        self.copy.discard()

    def _make(self) -> None:
        began = time.monotonic()
        try:
            self._before()
            self.copy.make()
            with self.copy.transaction():
                self._settle(self.copy)
            self.copy.checkpoint()
        except Exception as error:  # noqa: BLE001 - it is raised again on the write thread
            self._failure = error
        self.duration_s = time.monotonic() - began


def has_text(deleted: set[Name]) -> bool:
    """Whether text went with these objects; what a run holds is a name."""
    return any(cls is not ActiveRun for cls, _ in deleted)
