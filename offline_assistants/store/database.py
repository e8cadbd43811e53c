"""A database file, its connections, and the fresh copy that takes its place. The door to duckdb; knows nothing of what is in the tables.

One thread writes (`execute`, `transaction`, `checkpoint`, `begin_copy`, `replace_by`), any thread reads (`read`).

DuckDB 2.0 never overwrites what was deleted: rows are marked, and blocks that are free again keep their bytes. So what is to be gone for good is left
behind with the whole file: a copy of what is alive takes its place. The copy is made beside the file while everybody goes on:

    objects.duckdb            the database, with objects.duckdb.wal
    objects.duckdb.copying    a copy in the making; worthless after a crash
    objects.duckdb.complete   a copy that has taken the place already, whatever happens: all that is left to do is to rename it
    lock                      held by the process that has the store
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import duckdb

from offline_assistants.errors import StoreError
from offline_assistants.store.blobs import sync_directory
from offline_assistants.store.gate import Gate

_FATAL = (duckdb.FatalException, duckdb.InternalException)
_FRESH = "fresh"
"""What the copy is called in SQL while it is attached."""


class Database:
    def __init__(self, directory: Path | None) -> None:
        """None: in memory."""
        self._directory = directory
        self._gate = Gate()
        self._local = threading.local()
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._opening = 0
        """Changes when the file does; a thread's cursor is of one opening."""
        self._lock_file: IO[str] | None = None
        self.is_lost = False
        """The file was replaced and could not be opened again: this process has no database any more."""

    # ── Opening and closing ──────────────────────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """Raises StoreError when another process has the directory, and when the file is damaged."""
        with translated():
            if self._directory is not None:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._directory.chmod(0o700)
                self._lock_file = _lock(self._directory)
                self._clear_up()
            try:
                self._connection = _open_locked_down(self._directory)
            except BaseException:
                self._unlock()
                raise

    def close(self) -> None:
        """Without a checkpoint; what is committed is in the log."""
        with self._gate.shut():
            self._disconnect()
        self._unlock()

    def _disconnect(self) -> None:
        for cursor in self._cursors:
            cursor.close()
        self._cursors.clear()
        self._opening += 1
        self._connection.close()

    def _unlock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    # ── Asking ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()

    def read(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """Sees what was committed when it began."""
        with self._gate.inside():
            return self._cursor().execute(sql, values).fetchall()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """This thread's own."""
        if getattr(self._local, "opening", None) != self._opening:
            self._local.opening, self._local.cursor = self._opening, self._connection.cursor()
            self._cursors.append(self._local.cursor)
        return self._local.cursor

    @contextmanager
    def transaction(self) -> Generator[None]:
        with _transaction(self._connection):
            yield

    def checkpoint(self) -> None:
        """Fold the log into the file. Finding no room for it is fatal."""
        self._connection.execute("CHECKPOINT")

    @property
    def size(self) -> int:
        """Bytes of the file, without its log."""
        return self._size(self._path) if self._directory is not None else 0

    @property
    def log_size(self) -> int:
        """Bytes of the log."""
        return self._size(self._wal) if self._directory is not None else 0

    # ── A fresh copy ─────────────────────────────────────────────────────────────────────────────────────────────────

    def begin_copy(self) -> FreshCopy:
        """A copy of what is committed now; `make` it on a thread of its own. There is one at a time."""
        return FreshCopy(self._connection.cursor(), self._beside("copying"))

    def replace_by(self, copy: FreshCopy) -> None:
        """From now on the copy is the database; what is not in it is gone. Readers wait for about 50 ms.

        A crash in the middle leaves either the old file or the copy, whole: `open` sees to the rest.
        """
        copy.finish()
        self.is_lost = True  # until all of this is done
        copy.path.rename(self._beside("complete"))
        sync_directory(self._path.parent)
        with self._gate.shut():
            self._disconnect()
            self._clear_up()
            self._connection = _open_locked_down(self._directory)
        self.is_lost = False

    def _clear_up(self) -> None:
        """What a crash has left, or a copy that is complete: it takes the place of the file, and of a log that tells of the old one."""
        shutil.rmtree(self._path.parent / "spilled", ignore_errors=True)
        for left in (self._beside("copying"), self._beside("copying.wal")):
            left.unlink(missing_ok=True)
        if self._beside("complete").exists():
            self._wal.unlink(missing_ok=True)
            sync_directory(self._path.parent)
            self._beside("complete").rename(self._path)
            sync_directory(self._path.parent)

    @property
    def _path(self) -> Path:
        if self._directory is None:
            raise ValueError("a database in memory has no file")
        return self._directory / "objects.duckdb"

    @property
    def _wal(self) -> Path:
        return self._beside("wal")

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{ending}")

    @staticmethod
    def _size(path: Path) -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0


class FreshCopy:
    """What was committed at one moment, in a file without a past. One thread at a time may use it; `cancel` may come from another."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, path: Path) -> None:
        self.path = path
        self._cursor = cursor
        self._cursor.execute("BEGIN")
        [(self._name,)] = self._cursor.execute("SELECT current_database()").fetchall()
        self._cursor.execute("FROM meta").fetchall()  # the first look at a table fixes what the transaction sees

    def make(self) -> None:
        """Takes about 10 s for a million messages. Raises duckdb's errors."""
        self._cursor.execute(f"ATTACH '{self.path}' AS {_FRESH}")
        self._cursor.execute(f"COPY FROM DATABASE {self._name} TO {_FRESH}")
        self._cursor.execute("COMMIT")

    def checkpoint(self) -> None:
        """Fold the copy's log into its file."""
        self._cursor.execute(f"CHECKPOINT {_FRESH}")

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """Say something to the copy."""
        return self._cursor.execute(sql, values).fetchall()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Changes of the copy alone."""
        self._cursor.execute(f"USE {_FRESH}")
        with _transaction(self._cursor):
            yield
        self._cursor.execute(f"USE {self._name}")

    def finish(self) -> None:
        """All of it is in its file, and the file is on the disk."""
        self.checkpoint()
        self._cursor.execute(f"DETACH {_FRESH}")
        self._cursor.close()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def cancel(self) -> None:
        """Make `make` raise, if it is under way."""
        self._cursor.interrupt()

    def discard(self) -> None:
        """Leave nothing of it."""
        for statement in ("ROLLBACK", f"DETACH DATABASE IF EXISTS {_FRESH}"):
            with suppress(duckdb.Error):
                self._cursor.execute(statement)
        self._cursor.close()
        for left in (self.path, self.path.with_name(self.path.name + ".wal")):
            left.unlink(missing_ok=True)


@contextmanager
def translated() -> Generator[None]:
    """The library's errors as StoreError, with the cause in it."""
    try:
        yield
    except (duckdb.Error, OSError, UnicodeError) as error:
        raise StoreError from error


def is_of_library(error: Exception) -> bool:
    """Whether the database raised it, and not whoever uses the database."""
    return isinstance(error, duckdb.Error)


def is_fatal(error: StoreError) -> bool:
    """Whether the database cannot go on in this process."""
    return isinstance(error.__cause__, _FATAL)


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Generator[None]:
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):  # there may be nothing to roll back
            connection.execute("ROLLBACK")
        raise


def _open_locked_down(directory: Path | None) -> duckdb.DuckDBPyConnection:
    """A connection that can neither fetch an extension nor touch a file outside its directory, and stays so."""
    connection = duckdb.connect(
        ":memory:" if directory is None else str(directory / "objects.duckdb"),
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "threads": 2,
            "memory_limit": "1GB",
            "temp_directory": "" if directory is None else str(directory / "spilled"),
        },
    )
    allowed = [] if directory is None else [str(directory)]
    # The order matters: directories can only be allowed before external access ends, and nothing can be changed after the last line.
    connection.execute("SET allow_extension_repositories = 'forbidden'")
    connection.execute("SET disabled_optimizers = 'late_materialization,top_n'")  # they scan the whole table for a page of one thread
    connection.execute("SET wal_autocheckpoint = '64MB'")  # a commit that crosses it waits for the checkpoint; replaying the log takes 45 ms per MB
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")  # the store says when: not when the disk is full, and not for a file that is left behind
    connection.execute(f"SET allowed_directories = {allowed!r}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


_PARQUET_COLUMNS = ("project", "object", "id", "thread_id", "run_id", "vector_store_id")


def lines_to_parquet(lines: Path, target: Path) -> None:
    """Objects, one JSON a line, as a Parquet file: the columns that are asked for most, and `json` with the whole. Raises StoreError.

    A connection of its own that reaches these two folders and nothing else.
    """
    columns = ", ".join(f"json->>'$.{name}' AS {name}" for name in _PARQUET_COLUMNS)
    with translated(), duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False, "threads": 1}) as connection:
        connection.execute(f"SET allowed_directories = {[str(lines.resolve().parent), str(target.resolve().parent)]!r}")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        connection.execute(  # the columns are our own
            f"COPY (SELECT {columns}, (json->>'$.created_at')::BIGINT AS created_at, json::VARCHAR AS json "  # noqa: S608
            "FROM read_json_objects($lines, format = 'newline_delimited', maximum_object_size = 67108864)) TO $target (FORMAT parquet)",
            {"lines": str(lines.resolve()), "target": str(target.resolve())},
        )


def _lock(directory: Path) -> IO[str]:
    """DuckDB locks its file; this lock also holds while one file takes the place of another."""
    lock_file = (directory / "lock").open("a+", encoding="ascii")
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock_file.seek(0)
        holder = lock_file.read().strip()
        lock_file.close()
        raise StoreError(f"Another process (PID {holder}) holds the store in {directory}. Stop it, or choose another data directory.") from error
    lock_file.truncate(0)
    lock_file.write(str(os.getpid()))
    lock_file.flush()
    return lock_file
