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

Changes and preconditions are in `changes.py`. Errors: those of preconditions and changes as they are, NotFound for an unknown cursor, StoreFull, StoreError.
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
from typing import Any, Generic, Literal, ParamSpec, TypeVar

import duckdb

from offline_assistants.domain.objects import ApiObject, Run
from offline_assistants.errors import OfflineAssistantsError, StoreError, StoreFull
from offline_assistants.store.changes import Change, Committed, Draft, Name, Precondition, T, Update
from offline_assistants.store.tables import TABLES, ActiveRun, Condition, Equal, family, load_migrations, load_statements, wanted
from offline_assistants.store.write_thread import WriteThread

_log = logging.getLogger(__name__)
_FATAL = (duckdb.FatalException, duckdb.InternalException)
_NO_FILTER: Mapping[str, Any] = {}
_STRETCH = 200
"""Objects that `list_all` has in memory at a time."""
Order = Literal["asc", "desc"]
Args = ParamSpec("Args")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: list[T]
    has_more: bool
    """Whether there are more in the direction of travel: behind `after`, or before `before`."""


@dataclass(frozen=True, slots=True)
class _Request:
    changes: Sequence[Change[Any]]
    require: Sequence[Precondition]


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
        return await self._read(self._get_many, cls, list(keys))

    async def list_page(
        self,
        cls: type[T],
        *,
        parent: Equal = _NO_FILTER,
        where: Mapping[str, str | None] = _NO_FILTER,
        limit: int = 20,
        order: Order = "desc",
        after: str | None = None,
        before: str | None = None,
    ) -> Page[T]:
        """A page in order of creation. `after` and `before` are keys and exclusive; a page `before` a key ends next to it.

        `parent` compares immutable columns (see tables.py) and is fast; `where` compares top-level fields of the objects that are left. Raises NotFound
        with `param` when a cursor is not among the parent's objects.
        """
        return await self._read(self._list_page, cls, family(cls, parent), wanted(cls, where), limit, order, after, before)

    async def list_all(self, cls: type[T], *, parent: Equal = _NO_FILTER, where: Mapping[str, str | None] = _NO_FILTER) -> AsyncIterator[T]:
        """All objects that there are now, oldest first; those deleted meanwhile may be missing."""
        relatives = family(cls, parent)
        places = await self._read(self._places, cls, relatives, wanted(cls, where), "ASC", None)
        for start in range(0, len(places), _STRETCH):
            for obj in await self._read(self._stretch, cls, relatives, places[start : start + _STRETCH]):
                yield obj

    async def count(self, cls: type[ApiObject], *, parent: Equal = _NO_FILTER, where: Mapping[str, str | None] = _NO_FILTER) -> int:
        return await self._read(self._count, cls, family(cls, parent), wanted(cls, where))

    async def active_runs(self) -> list[Run]:
        """The runs that hold a thread, oldest first: those to go on with after a restart."""
        return await self._read(self._active_runs)

    # ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def commit(self, changes: Sequence[Change[Any]], require: Sequence[Precondition] = ()) -> Committed:
        """All changes or none, in the order given, if every precondition holds. On the disk when this returns.

        Who is cancelled while waiting does not know whether it happened.
        """
        self._check_usable()
        return await self._writer.submit(_Request(changes, require))

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
        await self._loop.run_in_executor(self._readers, self._writer.stop)
        await self._loop.run_in_executor(self._readers, self._connection.close)
        self._readers.shutdown(wait=True)

    def _connect(self) -> None:
        with _translated(self._directory):
            if self._directory is not None:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._directory.chmod(0o700)
            self._connection = _open_locked_down(self._directory)
            self._seqs = itertools.count(1)
            try:
                self._migrate()
                newest = max(self._value("newest", table.words) for table in TABLES.values())
            except BaseException:
                self._connection.close()
                raise
        self._seqs = itertools.count(newest + 1)
        self._local = threading.local()

    def _migrate(self) -> None:
        migrations = load_migrations()
        self._connection.execute(self._sql["meta"])
        version, newest = self._value("version", {}), max(migrations)
        if version > newest:
            raise StoreError(f"A newer version of this program wrote the database (schema {version}; this version knows {newest}). Install the newer version.")
        for number in range(version + 1, newest + 1):
            with self._transaction():
                self._connection.execute(migrations[number])
                self._connection.execute(self._sql["set_version"], [number])

    def _value(self, statement: str, words: Mapping[str, str]) -> int:
        row = self._connection.execute(self._sql[statement].format_map(words)).fetchone()
        return row[0] if row else 0

    # ── On the reader threads ────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, function: Callable[Args, Value], *args: Args.args, **kwargs: Args.kwargs) -> Value:
        self._check_usable()

        def call() -> Value:
            with self._watched():
                return function(*args, **kwargs)

        return await self._loop.run_in_executor(self._readers, call)

    def _query(self, statement: str, words: Mapping[str, str], values: Sequence[object] = ()) -> list[Any]:
        if not hasattr(self._local, "cursor"):
            self._local.cursor = self._connection.cursor()
        return self._local.cursor.execute(self._sql[statement].format_map(words), values).fetchall()

    def _get_many(self, cls: type[T], keys: list[str]) -> dict[str, T]:
        if not keys:
            return {}
        words = TABLES[cls].words | {"places": ", ".join("?" * len(keys))}
        return {key: cls.model_validate_json(doc) for key, doc in self._query("docs", words, keys)}

    def _places(self, cls: type[ApiObject], relatives: Condition, chosen: Condition, direction: str, limit: int | None) -> list[int]:
        words = TABLES[cls].words | {"family": relatives.sql, "wanted": chosen.sql, "direction": direction}
        return [seq for (seq,) in self._query("places", words, [*relatives.values, *chosen.values, limit])]

    def _stretch(self, cls: type[T], relatives: Condition, places: list[int]) -> list[T]:
        if not places:
            return []
        bounds = sorted((places[0], places[-1]))
        docs = dict(self._query("stretch", TABLES[cls].words | {"family": relatives.sql}, [*relatives.values, *bounds]))
        return [cls.model_validate_json(docs[seq]) for seq in places if seq in docs]

    def _list_page(self, cls: type[T], relatives: Condition, chosen: Condition, limit: int, order: Order, after: str | None, before: str | None) -> Page[T]:
        later, earlier = ("seq > ?", "seq < ?") if order == "asc" else ("seq < ?", "seq > ?")
        cut = relatives
        if after is not None:
            cut = cut.also(later, self._place(cls, relatives, after, "after"))
        if before is not None:
            cut = cut.also(earlier, self._place(cls, relatives, before, "before"))
        is_backwards = before is not None and after is None
        places = self._places(cls, cut, chosen, "ASC" if (order == "asc") != is_backwards else "DESC", limit + 1)
        items = self._stretch(cls, relatives, places[:limit])
        return Page(items[::-1] if is_backwards else items, has_more=len(places) > limit)

    def _place(self, cls: type[ApiObject], relatives: Condition, key: str, param: str) -> int:
        rows = self._query("place", TABLES[cls].words | {"family": relatives.sql}, [key, *relatives.values])
        if not rows:
            error = TABLES[cls].not_found(key)
            error.param = param
            raise error
        return rows[0][0]

    def _count(self, cls: type[ApiObject], relatives: Condition, chosen: Condition) -> int:
        words = TABLES[cls].words | {"family": relatives.sql, "wanted": chosen.sql}
        return self._query("count", words, [*relatives.values, *chosen.values])[0][0]

    def _active_runs(self) -> list[Run]:
        return [Run.model_validate_json(doc) for (doc,) in self._query("active_runs", {})]

    # ── On the write thread ──────────────────────────────────────────────────────────────────────────────────────────

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
        stored = _Stored(self._connection, self._sql)
        stored.load(name for request in requests for part in (*request.require, *request.changes) for name in part.reads)
        draft = Draft(stored, self._seqs)
        is_full = self._directory is not None and shutil.disk_usage(self._directory).free < self._min_free_bytes
        outcomes = [self._stage(request, draft, is_full=is_full) for request in requests]
        for cls in TABLES:
            self._flush(cls, draft)
        self._has_deleted = self._has_deleted or any(cls is not ActiveRun for cls, _ in draft.deleted)
        return outcomes

    def _stage(self, request: _Request, draft: Draft, *, is_full: bool) -> Committed | Exception:
        branch = draft.branch()
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
            self._connection.execute(self._sql["delete"].format_map(table.words), [deleted])
        if rows:
            lists = zip(*[(row.obj.key, row.seq, *table.values_of(row.obj), row.doc) for row in rows], strict=True)
            written = self._connection.execute(self._sql["upsert"].format_map(table.words), [list(values) for values in lists]).fetchall()
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

    def _tidy_up(self) -> None:
        """Fold the log into the file while nobody waits, so that the next start is quick and what was deleted leaves the log."""
        if self._directory is None or self._fatal is not None:
            return
        log = self._directory / "objects.duckdb.wal"
        if self._has_deleted or (log.exists() and log.stat().st_size > 4 * 2**20):
            try:
                with self._watched():
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


class _Stored:
    """What is committed, read on the write thread once per transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, sql: Mapping[str, str]) -> None:
        self._connection = connection
        self._sql = sql
        self._docs: dict[Name, str | None] = {}

    def load(self, names: Iterable[Name]) -> None:
        """Read documents in one go for each table."""
        wanted: dict[type[ApiObject], list[str]] = {}
        for cls, key in dict.fromkeys(names):
            wanted.setdefault(cls, []).append(key)
            self._docs[cls, key] = None
        for cls, keys in wanted.items():
            words = TABLES[cls].words | {"places": ", ".join("?" * len(keys))}
            for key, doc in self._connection.execute(self._sql["docs"].format_map(words), keys).fetchall():
                self._docs[cls, key] = doc

    def doc(self, cls: type[ApiObject], key: str) -> str | None:
        if (cls, key) not in self._docs:
            self.load([(cls, key)])
        return self._docs[cls, key]

    def keys(self, cls: type[ApiObject], parent: Equal) -> list[str]:
        chosen = family(cls, parent)
        rows = self._connection.execute(self._sql["keys"].format_map(TABLES[cls].words | {"family": chosen.sql}), chosen.values).fetchall()
        return [key for (key,) in rows]


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
