"""The store: objects in DuckDB behind one write thread.

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
A commit that returned is on the disk; one that raised did nothing. Objects of one class are listed in the order in which they were created. The text of
deleted objects leaves the disk when the store is idle, or after a minute (see `rewriting.py`).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

from offline_assistants.domain.objects import ApiObject, Run
from offline_assistants.errors import OfflineAssistantsError, StoreError, StoreFull
from offline_assistants.store.changes import Change, Committed, Draft, Precondition, Row, Update
from offline_assistants.store.database import Database, FreshCopy, is_fatal, is_of_library, translated
from offline_assistants.store.reading import Order, Page, Query, Reader, ReadOnce
from offline_assistants.store.recent import Recent
from offline_assistants.store.rewriting import Missed, Rewriting, has_text
from offline_assistants.store.tables import TABLES, Equal, Name, T, Table, load_migrations, load_statements, select
from offline_assistants.store.write_thread import WriteThread

_log = logging.getLogger(__name__)
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_STRETCH = 200
"""Objects that `list_all` has in memory at a time."""
_RECENT_BYTES = 32 * 2**20
"""Of documents that are kept in memory: the threads, runs and messages that are in use."""
_FOLDED_WHEN_IDLE = 4 * 2**20
"""Bytes of the log."""
_REWRITTEN_AT_CLOSE = 64 * 2**20
"""Bytes of a file that is rewritten before the server ends, in a second or so, if it holds text of deleted objects; larger ones at the next start."""
Args = ParamSpec("Args")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Request:
    changes: Sequence[Change[Any]]
    require: Sequence[Precondition]
    project: str | None


class DuckDBStore:
    def __init__(
        self,
        directory: Path | None,
        *,
        database: Database,
        on_fatal: Callable[[StoreError], None],
        before_erasing: Callable[[], None],
        min_free_bytes: int,
        num_readers: int,
        idle_after_s: float,
        tidy_after_s: float,
    ) -> None:
        self._directory = directory
        self._on_fatal = on_fatal
        self._before_erasing = before_erasing
        self._min_free_bytes = min_free_bytes
        self._idle_after_s = idle_after_s
        self._tidy_after_s = tidy_after_s
        self._num_readers = num_readers
        self._fatal: StoreError | None = None
        self._is_open = False
        self._sql = load_statements()
        self._database = database
        self._reader = Reader(self._query_to_read)
        self._recent = Recent(max_bytes=_RECENT_BYTES)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: Path | None,
        *,
        database: Database | None = None,
        on_fatal: Callable[[StoreError], None] = lambda _: None,
        before_erasing: Callable[[], None] = lambda: None,
        min_free_bytes: int = 256 * 2**20,
        num_readers: int = 4,
        idle_after_s: float = 2.0,
        tidy_after_s: float = 60.0,
    ) -> AsyncGenerator[DuckDBStore]:
        """The store in a directory of its own, made if need be; None: in memory. Raises StoreError: held by another process, damaged, or of a newer version.

        `before_erasing` is called, on a thread of the store, before deleted text leaves the file: what others made of it has to go as well.
        `on_fatal` is called once, on the event loop, when the database cannot go on: the process should end and be started again. `min_free_bytes`:
        nothing new is accepted when the disk has less. `idle_after_s`: so long after the last write the log is folded into the file, and deleted text leaves
        the disk; where writes never end, that begins after `tidy_after_s`. `database`: one that says the same statements to something else.
        """
        store = cls(
            directory,
            database=database or Database(directory),
            on_fatal=on_fatal,
            before_erasing=before_erasing,
            min_free_bytes=min_free_bytes,
            num_readers=num_readers,
            idle_after_s=idle_after_s,
            tidy_after_s=tidy_after_s,
        )
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
        wanted = list(dict.fromkeys(keys))
        self._check_usable()
        known = self._recent.find([(cls, key) for key in wanted])
        found = {key: cls.model_validate_json(doc) for (_, key), doc in known.items() if doc is not None}
        unknown = [key for key in wanted if (cls, key) not in known]
        return found | (await self._read(self._reader.objects, cls, unknown) if unknown else {})

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

    async def mentions(self, cls: type[ApiObject], text: str) -> list[str]:
        """Keys of the objects whose JSON contains `text`; some may mean something else by it."""
        return await self._read(self._reader.mentions, cls, text)

    async def active_runs(self) -> list[Run]:
        """The runs that hold a thread, oldest first: those to go on with after a restart."""
        return await self._read(self._reader.active_runs)

    async def projects(self) -> list[str]:
        """The projects that have anything, by name."""
        return await self._read(self._reader.projects)

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
        self._writer = WriteThread[_Request, Committed](self._carry_out, tidy=self._tidy_up, idle_after_s=self._idle_after_s, tidy_after_s=self._tidy_after_s)
        self._is_open = True

    async def _close(self) -> None:
        self._is_open = False
        await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        self._writer.stop()
        self._readers.shutdown()
        self._tidy_up_for_good()
        self._database.close()

    def _connect(self) -> None:
        self._database.open()
        try:
            with translated():
                self._migrate()
                newest = max(self._query("newest", table.words)[0][0] for table in TABLES.values())
                is_due = bool(self._query("has_dead_text")[0][0])
        except BaseException:
            self._database.close()
            raise
        self._rewriting = Rewriting(
            self._database, before=self._before_erasing, settle=self._settle_copy, flush=self._flush_into, has_room=self._has_room, is_due=is_due
        )
        self._seqs = itertools.count(newest + 1)

    def _migrate(self) -> None:
        migrations = load_migrations()
        self._query("meta")
        version, newest = self._query("version")[0][0], max(migrations)
        if version > newest:
            raise StoreError(f"A newer version of this program wrote the database (schema {version}; this version knows {newest}). Install the newer version.")
        for number in range(version + 1, newest + 1):
            with self._database.transaction():
                self._database.execute(migrations[number])
                self._query("set_version", values=[number])

    # ── On the reader threads ────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, function: Callable[Args, Value], *args: Args.args, **kwargs: Args.kwargs) -> Value:
        self._check_usable()

        def call() -> Value:
            with self._watched():
                return function(*args, **kwargs)

        return await self._loop.run_in_executor(self._readers, call)

    def _query_to_read(self, statement: str, words: Mapping[str, str], values: Sequence[object] = ()) -> list[Any]:
        return self._database.read(self._sql[statement].format_map(words), values)

    # ── On the write thread ──────────────────────────────────────────────────────────────────────────────────────────

    def _query(self, statement: str, words: Mapping[str, str] = _NOTHING, values: Sequence[object] = ()) -> list[Any]:
        return self._database.execute(self._sql[statement].format_map(words), values)

    def _carry_out(self, requests: list[_Request], *, is_careful: bool = False) -> Sequence[Committed | Exception]:
        """One transaction for all. If the database refuses it, once more with no object taken for new; then one for each, so that only the guilty fails."""
        if self._fatal is not None:
            return [self._fatal] * len(requests)
        stored = ReadOnce(Reader(self._query), self._recent)
        try:
            with self._watched():
                stored.expect(name for request in requests for part in (*request.require, *request.changes) for name in part.reads)
                draft = Draft(stored, self._seqs)
                is_full = not self._has_room(0)
                outcomes = [self._stage(request, draft, is_full=is_full) for request in requests]
                self._write(draft, is_new=lambda name: not is_careful and not self._is_known(name, draft, stored))
        except StoreError as error:
            if not is_careful:
                return self._carry_out(requests, is_careful=True)
            return [error] if len(requests) == 1 else [self._carry_out([request], is_careful=True)[0] for request in requests]
        self._recent.put(stored.docs.items())
        self._recent.put((name, None if row is None else row.doc) for name, row in draft.rows.items())
        self._rewriting.note(draft)
        return outcomes

    def _write(self, draft: Draft, *, is_new: Callable[[Name], bool]) -> None:
        writes = list(_writes(draft.rows, draft.deleted, is_new=is_new))
        if has_text(draft.deleted) and not self._rewriting.is_due:
            writes.append(_Write("set_dead_text", _NOTHING, ()))
        # A statement is a transaction of its own. To begin and to end one around it takes as long as a third of an insert.
        is_whole = len(writes) == 1 and writes[0].expected is None
        with nullcontext() if is_whole else self._database.transaction():
            for write in writes:
                write.say(self._query)

    def _is_known(self, name: Name, draft: Draft, stored: ReadOnce) -> bool:
        """Whether the object is in the database as far as we know; it may be although we do not."""
        return name not in draft.deleted and bool(stored.docs.get(name) or self._recent.find([name]).get(name))

    def _stage(self, request: _Request, draft: Draft, *, is_full: bool) -> Committed | Exception:
        branch = draft.branch(request.project)
        try:
            if is_full and any(change.grows for change in request.changes):
                raise StoreFull
            for precondition in request.require:
                precondition.check(branch)
            results = {change: change.stage(branch) for change in request.changes}
        except Exception as error:  # whatever the caller's own functions raise goes back to the caller, and only to it
            if is_of_library(error):
                raise
            return error
        draft.merge(branch)
        return Committed(results)

    def _has_room(self, num_bytes: int) -> bool:
        return self._directory is None or shutil.disk_usage(self._directory).free - num_bytes >= self._min_free_bytes

    # ── Tidying up, on the write thread ──────────────────────────────────────────────────────────────────────────────

    def _tidy_up(self, *, is_idle: bool) -> bool:
        """Fold the log into the file while nobody waits, so that the next start is quick; be rid of deleted text. Returns whether there is more to do."""
        if self._directory is None or self._fatal is not None:
            return False
        try:
            with self._watched():
                if is_idle and self._database.log_size > _FOLDED_WHEN_IDLE and self._has_room(0):  # a checkpoint that finds no room is fatal
                    self._database.checkpoint()
                return self._rewriting.go_on()
        except StoreError as error:
            _log.warning("the database could not be tidied up: %s", error.__cause__ or error)
            return True

    def _tidy_up_for_good(self) -> None:
        if self._directory is None or self._fatal is not None:
            return
        try:
            with self._watched():
                if self._rewriting.is_due and self._database.size < _REWRITTEN_AT_CLOSE and self._has_room(self._database.size):
                    self._rewriting.finish()
                self._rewriting.stop()
                if self._database.log_size and self._has_room(0):
                    self._database.checkpoint()
        except StoreError as error:
            _log.warning("the database could not be tidied up: %s", error.__cause__ or error)

    def _settle_copy(self, copy: FreshCopy) -> None:
        """Nothing in the copy is dead."""
        copy.execute(self._sql["clear_dead_text"])

    def _flush_into(self, copy: FreshCopy, missed: Missed) -> None:
        def query(statement: str, words: Mapping[str, str], values: Sequence[object] = ()) -> list[Any]:
            return copy.execute(self._sql[statement].format_map(words), values)

        for write in _writes(missed.rows, missed.deleted):
            write.say(query)
        if has_text(missed.deleted):
            query("set_dead_text", _NOTHING)

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
            with translated():
                yield
        except StoreError as error:
            if self._fatal is None and (self._database.is_lost or is_fatal(error)):
                _log.critical("the database cannot go on: %s", error.__cause__)
                self._fatal = error
                self._loop.call_soon_threadsafe(self._on_fatal, error)
            raise


@dataclass(frozen=True, slots=True)
class _Write:
    """One statement that changes a table."""

    statement: str
    words: Mapping[str, str]
    values: Sequence[object]
    expected: Set[tuple[object, ...]] | None = None
    """What it returns if all is well."""

    def say(self, query: Query) -> None:
        """Raises the library's errors, and StoreError."""
        found = query(self.statement, self.words, self.values)
        if self.expected is not None and set(found) != self.expected:
            raise StoreError(f"Objects in {self.words['table']} keep their {self.words['columns']}; delete the old one to put another in its place.")


def _writes(rows: Mapping[Name, Row | None], deleted: Set[Name], *, is_new: Callable[[Name], bool] = lambda _: False) -> Iterator[_Write]:
    """`is_new`: those that are written without a look for one with the same key, in half the time."""
    for cls, table in TABLES.items():
        keys = [key for kind, key in deleted if kind is cls]
        written = [(is_new((kind, key)), row) for (kind, key), row in rows.items() if kind is cls and row is not None]
        new, old = ([row for is_new_row, row in written if is_new_row is wanted] for wanted in (True, False))
        if keys:
            yield _Write("delete", table.words, [keys])
        if new:
            yield _Write("insert", *_rows(table, new))
        if old:
            yield _Write("upsert", *_rows(table, old), expected={(row.obj.key, *table.values_of(row.obj)) for row in old})


def _rows(table: Table, rows: Sequence[Row]) -> tuple[dict[str, str], list[Any]]:
    """The words and the values of a statement that inserts them."""
    values = [[row.obj.key, row.seq, *table.values_of(row.obj), row.doc] for row in rows]
    if len(rows) == 1:
        return table.words | {"rows": table.one_row}, values[0]
    return table.words | {"rows": table.many_rows}, [list(column) for column in zip(*values, strict=True)]
