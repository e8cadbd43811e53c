"""The store: objects in DuckDB behind one write thread. The door to duckdb.

    async with DuckDBStore.open(directory) as store:                  # None: in memory
        run = await store.get(Run, run_id)                            # or None
        files = await store.get_many(File, file_ids)                  # dict by key; those that are gone are left out
        page = await store.list_page(Message, parent={"thread_id": thread_id}, where={"run_id": run_id}, limit=20, order="desc", after=message_id)
        async for step in store.list_all(RunStep, parent={"run_id": run_id}): ...
        await store.count(File, where={"purpose": "assistants"})
        done = await store.commit([Put(message), Lock(thread_id, run.id), started := Update(Run, run.id, start)], require=[NotLocked(thread_id, busy)])
        done[started]                                                 # the new run
        run = await store.update(Run, run.id, start)                  # a commit of one Update
        await store.active_runs()                                     # the runs that hold a thread, oldest first

Changes and preconditions are in `changes.py`; routes see the store through `project_store.py`.
Errors: those of preconditions and changes as they are, NotFound for an unknown cursor, StoreFull, StoreError.
A commit that returned is on the disk; one that raised did nothing. Objects of one class are listed in the order in which they were created.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import shutil
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

import duckdb

from offline_assistants.domain.objects import ApiObject, Run
from offline_assistants.errors import OfflineAssistantsError, StoreError, StoreFull
from offline_assistants.store.changes import Change, Committed, Draft, Precondition, Update
from offline_assistants.store.reading import Order, Page, Reader, ReadOnce
from offline_assistants.store.tables import TABLES, ActiveRun, Equal, T, load_migrations, load_statements, select
from offline_assistants.store.write_thread import WriteThread

_log = logging.getLogger(__name__)
_FATAL = (duckdb.FatalException, duckdb.InternalException)
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_STRETCH = 200
"""Objects that `list_all` has in memory at a time."""
Args = ParamSpec("Args")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Request:
    changes: Sequence[Change[Any]]
    require: Sequence[Precondition]
    project: str | None


class DuckDBStore:
    def __init__(self, directory: Path | None, *, on_fatal: Callable[[StoreError], None], min_free_bytes: int, num_readers: int, idle_after_s: float) -> None:
        self._directory = directory
        self._on_fatal = on_fatal
        self._min_free_bytes = min_free_bytes
        self._idle_after_s = idle_after_s
        self._num_readers = num_readers
        self._fatal: StoreError | None = None
        self._is_open = False
        self._has_deleted = False
        self._sql = load_statements()
        self._local = threading.local()
        self._reader = Reader(self._query_to_read)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: Path | None,
        *,
        on_fatal: Callable[[StoreError], None] = lambda _: None,
        min_free_bytes: int = 256 * 2**20,
        num_readers: int = 4,
        idle_after_s: float = 2.0,
    ) -> AsyncGenerator[DuckDBStore]:
        """The store in a directory of its own, made if need be; None: in memory. Raises StoreError: held by another process, damaged, or of a newer version.

        `on_fatal` is called once, on the event loop, when the database cannot go on: the process should end and be started again. `min_free_bytes`:
        nothing new is accepted when the disk has less. `idle_after_s`: so long after the last write the log is folded into the file.
        """
        store = cls(directory, on_fatal=on_fatal, min_free_bytes=min_free_bytes, num_readers=num_readers, idle_after_s=idle_after_s)
        await store._start()
        try:
            yield store
        finally:
            await store._close()

    # ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def get(self, cls: type[T], key: str) -> T | None:
        return (await self.get_many(cls, [key])).get(key)

    async def get_many(self, cls: type[T], keys: Iterable[str]) -> dict[str, T]:
        """Those that exist, by key."""
        return await self._read(self._reader.objects, cls, list(keys))

    async def list_page(
        self,
        cls: type[T],
        *,
        parent: Equal = _NOTHING,
        where: Mapping[str, str | None] = _NOTHING,
        limit: int = 20,
        order: Order = "desc",
        after: str | None = None,
        before: str | None = None,
    ) -> Page[T]:
        """A page in order of creation. `after` and `before` are keys and exclusive; a page `before` a key ends next to it.

        `parent` compares immutable columns (see tables.py) and is fast; `where` compares top-level fields of the objects that are left. Raises NotFound
        with `param` when a cursor is not among the parent's objects.
        """
        chosen = select(cls, parent, where)
        return await self._read(self._reader.page, chosen, limit=limit, order=order, after=after, before=before)

    async def list_all(self, cls: type[T], *, parent: Equal = _NOTHING, where: Mapping[str, str | None] = _NOTHING) -> AsyncIterator[T]:
        """All objects that there are now, oldest first; those deleted meanwhile may be missing."""
        chosen = select(cls, parent, where)
        places = await self._read(self._reader.places, chosen, "asc", None)
        for start in range(0, len(places), _STRETCH):
            for obj in await self._read(self._reader.stretch, chosen, places[start : start + _STRETCH]):
                yield obj

    async def count(self, cls: type[ApiObject], *, parent: Equal = _NOTHING, where: Mapping[str, str | None] = _NOTHING) -> int:
        return await self._read(self._reader.count, select(cls, parent, where))

    async def active_runs(self) -> list[Run]:
        """The runs that hold a thread, oldest first: those to go on with after a restart."""
        return await self._read(self._reader.active_runs)

    # ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def commit(self, changes: Sequence[Change[Any]], require: Sequence[Precondition] = (), *, project: str | None = None) -> Committed:
        """All changes or none, in the order given, if every precondition holds. On the disk when this returns.

        With a `project` the objects of others are not there (see changes.py). Who is cancelled while waiting does not know whether it happened.
        """
        self._check_usable()
        return await self._writer.submit(_Request(changes, require, project))

    async def update(self, cls: type[T], key: str, change: Callable[[T], T], *, missing: OfflineAssistantsError | None = None) -> T:
        """The object as `change` made it from the newest one."""
        update = Update(cls, key, change, missing)
        return (await self.commit([update]))[update]

    # ── Opening and closing ──────────────────────────────────────────────────────────────────────────────────────────

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._readers = ThreadPoolExecutor(self._num_readers, thread_name_prefix="store-reader")
        try:
            await self._loop.run_in_executor(self._readers, self._connect)
        except BaseException:
            self._readers.shutdown(wait=False)
            raise
        self._writer = WriteThread[_Request, Committed](self._carry_out, idle=self._tidy_up, idle_after_s=self._idle_after_s)
        self._is_open = True

    async def _close(self) -> None:
        self._is_open = False
        await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        self._writer.stop()
        self._readers.shutdown()
        self._connection.close()

    def _connect(self) -> None:
        with _translated(self._directory):
            if self._directory is not None:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._directory.chmod(0o700)
            self._connection = _open_locked_down(self._directory)
            try:
                self._migrate()
                newest = max(self._query("newest", table.words)[0][0] for table in TABLES.values())
            except BaseException:
                self._connection.close()
                raise
        self._seqs = itertools.count(newest + 1)

    def _migrate(self) -> None:
        migrations = load_migrations()
        self._query("meta")
        version, newest = self._query("version")[0][0], max(migrations)
        if version > newest:
            raise StoreError(f"A newer version of this program wrote the database (schema {version}; this version knows {newest}). Install the newer version.")
        for number in range(version + 1, newest + 1):
            with self._transaction():
                self._connection.execute(migrations[number])
                self._query("set_version", values=[number])

    # ── On the reader threads ────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, function: Callable[Args, Value], *args: Args.args, **kwargs: Args.kwargs) -> Value:
        self._check_usable()

        def call() -> Value:
            with self._watched():
                return function(*args, **kwargs)

        return await self._loop.run_in_executor(self._readers, call)

    def _query_to_read(self, statement: str, words: Mapping[str, str], values: Sequence[object] = ()) -> list[Any]:
        if not hasattr(self._local, "cursor"):
            self._local.cursor = self._connection.cursor()
        return self._local.cursor.execute(self._sql[statement].format_map(words), values).fetchall()

    # ── On the write thread ──────────────────────────────────────────────────────────────────────────────────────────

    def _query(self, statement: str, words: Mapping[str, str] = _NOTHING, values: Sequence[object] = ()) -> list[Any]:
        return self._connection.execute(self._sql[statement].format_map(words), values).fetchall()

    def _carry_out(self, requests: list[_Request]) -> Sequence[Committed | Exception]:
        """One transaction for all; if the database refuses it, one for each, so that only the guilty one fails."""
        if self._fatal is not None:
            return [self._fatal] * len(requests)
        try:
            with self._watched(), self._transaction():
                return self._write(requests)
        except StoreError as error:
            return [error] if len(requests) == 1 else [self._carry_out([request])[0] for request in requests]

    def _write(self, requests: list[_Request]) -> list[Committed | Exception]:
        expected = [name for request in requests for part in (*request.require, *request.changes) for name in part.reads]
        draft = Draft(ReadOnce(Reader(self._query), expected), self._seqs)
        is_full = self._is_full()
        outcomes = [self._stage(request, draft, is_full=is_full) for request in requests]
        for cls in TABLES:
            self._flush(cls, draft)
        self._has_deleted = self._has_deleted or any(cls is not ActiveRun for cls, _ in draft.deleted)
        return outcomes

    def _stage(self, request: _Request, draft: Draft, *, is_full: bool) -> Committed | Exception:
        branch = draft.branch(request.project)
        try:
            if is_full and any(change.grows for change in request.changes):
                raise StoreFull
            for precondition in request.require:
                precondition.check(branch)
            results = {change: change.stage(branch) for change in request.changes}
        except duckdb.Error:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the caller's own functions raise goes back to the caller, and only to it
            return error
        draft.merge(branch)
        return Committed(results)

    def _flush(self, cls: type[ApiObject], draft: Draft) -> None:
        table = TABLES[cls]
        deleted = [key for kind, key in draft.deleted if kind is cls]
        rows = [row for (kind, _), row in draft.rows.items() if kind is cls and row is not None]
        if deleted:
            self._query("delete", table.words, [deleted])
        if rows:
            lists = zip(*[(row.obj.key, row.seq, *table.values_of(row.obj), row.doc) for row in rows], strict=True)
            written = self._query("upsert", table.words, [list(values) for values in lists])
            if set(written) != {(row.obj.key, *table.values_of(row.obj)) for row in rows}:
                raise StoreError(f"Objects in {table.name} keep their {', '.join(table.columns)}; delete the old one to put another in its place.")

    @contextmanager
    def _transaction(self) -> Generator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            try:
                self._connection.execute("ROLLBACK")
            except duckdb.Error as error:
                _log.debug("nothing to roll back: %s", error)
            raise

    def _is_full(self) -> bool:
        return self._directory is not None and shutil.disk_usage(self._directory).free < self._min_free_bytes

    def _tidy_up(self) -> None:
        """Fold the log into the file while nobody waits, so that the next start is quick and deleted text leaves the log.

        It does not leave the file by this: DuckDB 2.0 marks rows as deleted and drops their text when it rewrites most of their row group (122,880 rows).
        """
        if self._directory is None or self._fatal is not None:
            return
        log = self._directory / "objects.duckdb.wal"
        try:
            with self._watched():
                is_due = self._has_deleted or (log.exists() and log.stat().st_size > 4 * 2**20)
                if is_due and not self._is_full():  # a checkpoint that finds no room is fatal; the log can wait
                    self._connection.execute("CHECKPOINT")
                    self._has_deleted = False
        except StoreError as error:
            _log.warning("the log could not be folded into the database: %s", error.__cause__)

    # ── Errors ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _check_usable(self) -> None:
        if self._fatal is not None:
            raise self._fatal
        if not self._is_open:
            raise StoreError("The store is closed.")

    @contextmanager
    def _watched(self) -> Generator[None]:
        """Translates the library's errors; after a fatal one nothing is asked of the database again."""
        try:
            with _translated(self._directory):
                yield
        except StoreError as error:
            if isinstance(error.__cause__, _FATAL) and self._fatal is None:
                _log.critical("the database cannot go on: %s", error.__cause__)
                self._fatal = error
                self._loop.call_soon_threadsafe(self._on_fatal, error)
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
    connection.execute(f"SET allowed_directories = {allowed!r}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


@contextmanager
def _translated(directory: Path | None) -> Generator[None]:
    try:
        yield
    except (duckdb.Error, OSError, UnicodeError) as error:
        holder = re.search(r"Conflicting lock is held.*PID (\d+)", str(error))
        if holder:
            raise StoreError(f"Another process (PID {holder[1]}) holds the store in {directory}. Stop it, or choose another data directory.") from error
        raise StoreError from error
