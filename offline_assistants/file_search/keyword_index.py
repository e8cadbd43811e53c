"""Which chunks hold which words: an SQLite file with a full-text table (FTS5) for each vector store, in one directory.

Texts come as terms (see terms.py), so FTS5 splits at blanks and nothing else. A file is written in one transaction: it is there whole or not at all. One thread
writes and another reads, so that a question does not wait for a book. Deleting a store deletes its file. When a file of a store is deleted, its rows are
overwritten at once, and what full-text segments still hold of it goes when the store is tidied, a moment after the last deletion or at the next start.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from offline_assistants.errors import SearchError, StoreFull
from offline_assistants.file_search.keyword_postings import PLACES_TABLE, WordsInMemory
from offline_assistants.file_search.ranking import Floats, Place, keyword_shares, term_weight
from offline_assistants.file_search.safe_ids import SAFE_ID
from offline_assistants.file_search.terms import TERM_PUNCTUATION

T = TypeVar("T")

_OPEN_STORES = 32
"""Connections that each thread keeps; opening one takes under a millisecond."""
_TIDY_AFTER_S = 2.0

_SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS file (number INTEGER PRIMARY KEY, file_id TEXT NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS chunk (
        number INTEGER PRIMARY KEY, file INTEGER NOT NULL, chunk_index INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, windows BLOB NOT NULL,
        UNIQUE (file, chunk_index)
    );
    CREATE VIRTUAL TABLE IF NOT EXISTS terms USING fts5(chunk_terms, tokenize = "ascii tokenchars '{TERM_PUNCTUATION}'");
"""
_CHUNKS_BY_NUMBER = """
    SELECT chunk.number, file_id, chunk_index, start, end, windows
    FROM json_each(?) AS wanted CROSS JOIN chunk ON chunk.number = wanted.value CROSS JOIN file ON file.number = chunk.file
"""
_NUMBERS_OF_CHUNKS = """
    SELECT file_id, chunk_index, chunk.number
    FROM json_each(?) AS wanted
    CROSS JOIN file ON file_id = wanted.value ->> 0
    CROSS JOIN chunk ON chunk.file = file.number AND chunk_index = wanted.value ->> 1
"""
"""Many chunks are asked for at once: a statement for each takes longer than the search."""


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """A chunk with its terms, separated by blanks, and the windows that lie in it."""

    chunk_index: int
    start: int
    end: int
    windows: Sequence[tuple[int, int]]
    terms: str


@dataclass(frozen=True, slots=True)
class KeywordHit:
    place: Place
    share: float
    """See ranking.py; 0 to 1."""
    windows: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class KeywordMatches:
    """What one question found."""

    best: list[KeywordHit]
    shares: Mapping[str, Floats]
    """For each store, the keyword share of every chunk, by its number."""


class KeywordIndex:
    """The index in `path`, which belongs to one process at a time. Use as an async context manager, in one event loop."""

    def __init__(self, path: Path, *, tidy_after_s: float = _TIDY_AFTER_S) -> None:
        self._path = path
        self._tidy_after_s = tidy_after_s
        self._reader = _Thread(path, "keyword-reader")
        self._writer = _Thread(path, "keyword-writer")
        self._closed_stores: set[str] = set()
        self._words = WordsInMemory()
        """On the reading thread."""
        self._tidying: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the files. What is untidy is tidied at the next start."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
        await self._reader.close()
        await self._writer.close()

    async def add(self, vector_store_id: str, file_id: str, chunks: Iterable[IndexedChunk]) -> None:
        """Put a file into a store, in place of what was there of it. `chunks` is read on the writing thread. Raises SearchError, StoreFull."""
        await self._writer.call(lambda: _add(self._writer.connection(vector_store_id), file_id, chunks))

    async def delete_file(self, vector_store_id: str, file_id: str) -> None:
        """Take a file out of a store, if it is there. Raises SearchError."""

        def delete() -> bool:
            if not self._file(vector_store_id).exists():
                return False
            self._untidy(vector_store_id).touch()
            return _delete(self._writer.connection(vector_store_id), file_id)

        if await self._writer.call(delete):
            self._tidy_soon()

    async def delete_store(self, vector_store_id: str) -> None:
        """Forget a store, if it is there. Raises SearchError."""
        self._closed_stores.add(vector_store_id)
        try:
            await self._reader.call(lambda: self._close(vector_store_id))
            await self._writer.call(lambda: self._unlink(vector_store_id))
        finally:
            self._closed_stores.discard(vector_store_id)

    async def stores(self) -> list[str]:
        """Those that are known."""
        return await self._reader.call(lambda: sorted(file.stem for file in self._path.glob("*.sqlite")))

    async def files_of(self, vector_store_id: str) -> set[str]:
        """The files of a store; none of an unknown one. Raises SearchError."""

        def read() -> set[str]:
            if not self._file(vector_store_id).exists():
                return set()
            return {file_id for (file_id,) in self._reader.connection(vector_store_id).execute("SELECT file_id FROM file")}

        return await self._reader.call(read)

    async def match(self, vector_store_ids: Sequence[str], terms: Sequence[str], limit: int, *, file_ids: Collection[str] | None = None) -> KeywordMatches:
        """How much of a question's `terms` each chunk covers, and the best `limit` chunks of all the stores together, best first. Raises SearchError.

        `file_ids`: only chunks of these are found. Words are as rare as they are in the stores together. An unknown store holds nothing.
        """
        stores = [store for store in dict.fromkeys(vector_store_ids) if store not in self._closed_stores]
        return await self._reader.call(lambda: self._match(stores, terms, limit, file_ids))

    async def shares(self, matches: KeywordMatches, places: Iterable[Place]) -> dict[Place, float]:
        """The keyword share of chunks that may not be among the best. Raises SearchError."""
        wanted = list(places)
        return await self._reader.call(lambda: self._shares_of(matches, wanted))

    # ── Tidying ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """Tidy soon what an earlier server left untidy."""
        if any(self._path.glob("*.untidy")):
            self._tidy_soon()

    async def tidy(self) -> None:
        """Remove from the disk what deleted files left in full-text segments, and give back their space. Raises SearchError."""
        for marker in sorted(self._path.glob("*.untidy")):
            await self._writer.call(lambda marker=marker: self._tidy_store(marker))

    def _tidy_soon(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
        self._tidying = asyncio.create_task(self._tidy_later(), name="keyword-tidying")

    async def _tidy_later(self) -> None:
        await asyncio.sleep(self._tidy_after_s)
        await self.tidy()

    def _tidy_store(self, marker: Path) -> None:
        connection = self._writer.connection(marker.name.removesuffix(".untidy"))
        with connection:
            connection.execute("INSERT INTO terms (terms) VALUES ('optimize')")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        marker.unlink(missing_ok=True)

    # ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _file(self, vector_store_id: str) -> Path:
        return _store_file(self._path, vector_store_id)

    def _untidy(self, vector_store_id: str) -> Path:
        return self._path / f"{vector_store_id}.untidy"

    def _unlink(self, vector_store_id: str) -> None:
        self._writer.disconnect(vector_store_id)
        file = self._file(vector_store_id)
        for path in (file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm"), self._untidy(vector_store_id), file):
            path.unlink(missing_ok=True)  # the file by which the store is known goes last

    # ── Questions, on the reading thread ─────────────────────────────────────────────────────────────────────────────

    def _match(self, vector_store_ids: Sequence[str], terms: Sequence[str], limit: int, file_ids: Collection[str] | None) -> KeywordMatches:
        known = {store: self._reader.connection(store) for store in vector_store_ids if self._file(store).exists()}
        with ExitStack() as snapshots:
            for connection in known.values():
                snapshots.enter_context(_snapshot(connection))
            return self._match_in(known, terms, limit, file_ids)

    def _match_in(self, known: Mapping[str, sqlite3.Connection], terms: Sequence[str], limit: int, file_ids: Collection[str] | None) -> KeywordMatches:
        words = {store: self._words.of(store, connection) for store, connection in known.items()}
        found = {store: [of_store.postings(term) for term in terms] for store, of_store in words.items()}
        num_chunks = sum(of_store.num_chunks for of_store in words.values())
        weights = [term_weight(num_chunks, sum(len(of_store[index].numbers) for of_store in found.values())) for index in range(len(terms))]
        shares = {store: keyword_shares(of_store, weights, words[store].num_numbers) for store, of_store in found.items()}
        hits = [hit for store, of_store in shares.items() for hit in _best(store, known[store], of_store, limit, file_ids)]
        hits.sort(key=lambda hit: (-hit.share, hit.place.file_id, hit.place.chunk_index))
        return KeywordMatches(hits[:limit], shares)

    def _close(self, vector_store_id: str) -> None:
        self._reader.disconnect(vector_store_id)
        self._words.forget(vector_store_id)

    def _shares_of(self, matches: KeywordMatches, places: Sequence[Place]) -> dict[Place, float]:
        found = dict.fromkeys(places, 0.0)
        for store, shares in matches.shares.items():
            if store in self._closed_stores or not self._file(store).exists():
                continue  # deleted since it was asked
            of_store = {(place.file_id, place.chunk_index): place for place in places if place.vector_store_id == store}
            rows = self._reader.connection(store).execute(_NUMBERS_OF_CHUNKS, (json.dumps(list(of_store)),)).fetchall()
            found |= {of_store[file_id, chunk_index]: float(shares[number]) for file_id, chunk_index, number in rows if number < len(shares)}
        return found


def _best(vector_store_id: str, connection: sqlite3.Connection, shares: Floats, limit: int, file_ids: Collection[str] | None) -> list[KeywordHit]:
    if file_ids is not None:
        shares = np.where(_chunks_of(connection, file_ids, len(shares)), shares, 0.0)
    best: list[int] = np.argsort(-shares, kind="stable")[:limit].tolist()
    numbers = [number for number in best if shares[number] > 0]
    rows = connection.execute(_CHUNKS_BY_NUMBER, (json.dumps(numbers),)).fetchall()
    return [
        KeywordHit(Place(vector_store_id, file_id, chunk_index, start, end), float(shares[number]), _spans(windows))
        for number, file_id, chunk_index, start, end, windows in rows
    ]


def _spans(windows: bytes) -> tuple[tuple[int, int], ...]:
    spans: list[list[int]] = np.frombuffer(windows, "<u4").reshape(-1, 2).tolist()
    return tuple((start, end) for start, end in spans)


def _chunks_of(connection: sqlite3.Connection, file_ids: Collection[str], size: int) -> NDArray[np.bool_]:
    allowed = np.zeros(size, dtype=np.bool_)
    for file_id in file_ids:
        rows = connection.execute("SELECT chunk.number FROM chunk JOIN file ON file.number = chunk.file WHERE file_id = ?", (file_id,)).fetchall()
        allowed[[number for (number,) in rows if number < size]] = True
    return allowed


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Generator[None]:
    """Whatever is written meanwhile is not seen."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _add(connection: sqlite3.Connection, file_id: str, chunks: Iterable[IndexedChunk]) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        _delete_rows(connection, file_id)
        file = connection.execute("INSERT INTO file (file_id) VALUES (?)", (file_id,)).lastrowid
        for chunk in chunks:
            windows = np.array(chunk.windows, dtype="<u4").tobytes()
            values = (file, chunk.chunk_index, chunk.start, chunk.end, windows)
            number = connection.execute("INSERT INTO chunk (file, chunk_index, start, end, windows) VALUES (?, ?, ?, ?, ?)", values).lastrowid
            connection.execute("INSERT INTO terms (rowid, chunk_terms) VALUES (?, ?)", (number, chunk.terms))


def _delete(connection: sqlite3.Connection, file_id: str) -> bool:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        return _delete_rows(connection, file_id)


def _delete_rows(connection: sqlite3.Connection, file_id: str) -> bool:
    row = connection.execute("SELECT number FROM file WHERE file_id = ?", (file_id,)).fetchone()
    if row is None:
        return False
    connection.execute("DELETE FROM terms WHERE rowid IN (SELECT number FROM chunk WHERE file = ?)", row)
    connection.execute("DELETE FROM chunk WHERE file = ?", row)
    connection.execute("DELETE FROM file WHERE number = ?", row)
    return True


# ── Connections ──────────────────────────────────────────────────────────────────────────────────────────────────────


class _Thread:
    """A thread with its connections, of which the longest unused are closed."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._connections: OrderedDict[str, sqlite3.Connection] = OrderedDict()

    async def call(self, call: Callable[[], T]) -> T:
        """Carried out on the thread. Raises SearchError, StoreFull."""

        def translated() -> T:
            with _search_errors():
                try:
                    return call()
                finally:
                    self._close_unused()

        return await asyncio.get_running_loop().run_in_executor(self._thread, translated)

    async def close(self) -> None:
        await self.call(lambda: [self.disconnect(store) for store in list(self._connections)])
        self._thread.shutdown()

    def connection(self, vector_store_id: str) -> sqlite3.Connection:
        """On the thread only. The file is made when it is not there."""
        connection = self._connections.pop(vector_store_id, None) or _connect(_store_file(self._path, vector_store_id))
        self._connections[vector_store_id] = connection
        return connection

    def _close_unused(self) -> None:
        while len(self._connections) > _OPEN_STORES:
            self._connections.popitem(last=False)[1].close()

    def disconnect(self, vector_store_id: str) -> None:
        """On the thread only."""
        connection = self._connections.pop(vector_store_id, None)
        if connection is not None:
            connection.close()


def _store_file(path: Path, vector_store_id: str) -> Path:
    if not SAFE_ID.fullmatch(vector_store_id):
        raise SearchError(f"{vector_store_id!r} is no id that the keyword index can hold.")
    return path / f"{vector_store_id}.sqlite"


def _connect(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    connection: Any = sqlite3.connect(file, isolation_level=None, timeout=30)
    for pragma in ("secure_delete = ON", "journal_mode = WAL", "synchronous = FULL", "journal_size_limit = 16777216"):
        connection.execute(f"PRAGMA {pragma}")
    if connection.execute("PRAGMA user_version").fetchone() == (0,):
        connection.executescript(_SCHEMA)
        if sqlite3.sqlite_version_info >= (3, 42):
            connection.execute("INSERT INTO terms (terms, rank) VALUES ('secure-delete', 1)")
        connection.execute("PRAGMA user_version = 1")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(PLACES_TABLE)
    return connection


@contextmanager
def _search_errors() -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", None) == "SQLITE_FULL":
            raise StoreFull from error
        raise SearchError(f"The keyword index failed: {error}. `offline-assistants vector-stores reindex` rebuilds it from the stored texts.") from error
