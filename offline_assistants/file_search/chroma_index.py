"""Where the vectors of windows are kept and found: a Chroma database in one directory. The one import of chromadb.

Texts are not in it, only where they stand: a vector store is a collection, a window is a vector with its file and its offsets. Chroma is opened with the
first call, on a thread of its own, which alone speaks to it: importing and opening it takes about a second and 65 MB.

A file appears whole or not at all, also after a crash: before its windows are written, a marker with its name is; while the marker is there, the file is
hidden from queries, and when the index is opened, windows that a marker tells of are removed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self, TypeVar, cast

from offline_assistants.errors import SearchError
from offline_assistants.file_search.ranking import WindowHit

T = TypeVar("T")

_BATCH_WINDOWS = 256
"""Written at once: about a tenth of a second, then a query may come between."""
_HNSW = {"space": "cosine", "max_neighbors": 32, "ef_construction": 200, "ef_search": 640}
"""Chroma's defaults (16, 100, 100) lose up to a sixth of the nearest vectors at 10,000; with these none was lost at 5,000, for 3 ms a query."""
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,200}[A-Za-z0-9]")
"""What Chroma takes as a collection's name, and what is safe in a marker's."""


@dataclass(frozen=True, slots=True)
class IndexedWindow:
    """A window of a chunk with its vector. A window that lies in two chunks is given once for each and kept once."""

    chunk_index: int
    chunk_start: int
    chunk_end: int
    window_start: int
    window_end: int
    vector: Sequence[float]


class _Collection(Protocol):
    """What is used of chromadb.Collection."""

    def upsert(self, ids: list[str], embeddings: Any, metadatas: Any) -> None: ...
    def delete(self, ids: Any = None, where: Any = None) -> Any: ...
    def query(self, *, query_embeddings: Any, n_results: int, where: Any, include: Any) -> Any: ...
    def count(self) -> int: ...


class _Client(Protocol):
    """What is used of chromadb's client."""

    def get_or_create_collection(self, name: str, *, configuration: Any, embedding_function: Any) -> Any: ...
    def get_collection(self, name: str, *, embedding_function: Any) -> Any: ...
    def delete_collection(self, name: str) -> None: ...
    def close(self) -> None: ...


class ChromaIndex:
    """The index in `path`, which belongs to one process at a time. Use as an async context manager, in one event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chroma")
        self._writing = asyncio.Lock()
        self._hidden: set[tuple[str, str]] = set()
        self._client: _Client | None = None
        self._lock_file: IO[bytes] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.close()

    async def open(self) -> None:
        """Open the database now instead of with the first call. Raises SearchError."""
        await self._on_thread(self._connect)

    async def close(self) -> None:
        """Write what is to be written and let go of the directory."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    async def add(self, vector_store_id: str, file_id: str, windows: Sequence[IndexedWindow]) -> None:
        """Put a file into a vector store, in place of what was there of it. Raises SearchError.

        When this is cancelled or fails, the file is not found until it is added again; `delete_file` removes what is left of it.
        """
        records = _records(file_id, windows)
        async with self._writing:
            await self._on_thread(lambda: self._hide(vector_store_id, file_id))
            for start in range(0, len(records), _BATCH_WINDOWS):
                batch = records[start : start + _BATCH_WINDOWS]
                await self._on_thread(lambda batch=batch: self._upsert(vector_store_id, batch))
            await self._on_thread(lambda: self._show(vector_store_id, file_id))

    async def delete_file(self, vector_store_id: str, file_id: str) -> None:
        """Take a file out of a vector store, if it is there. Raises SearchError."""

        def delete() -> None:
            self._hide(vector_store_id, file_id)
            self._show(vector_store_id, file_id)

        async with self._writing:
            await self._on_thread(delete)

    async def delete_store(self, vector_store_id: str) -> None:
        """Forget a vector store, if it is there. Raises SearchError."""
        async with self._writing:
            await self._on_thread(lambda: self._drop(vector_store_id))

    async def query(self, vector_store_ids: Sequence[str], vector: Sequence[float], limit: int) -> list[WindowHit]:
        """The `limit` nearest windows of all the stores together, nearest first, once for each chunk that they lie in. Raises SearchError.

        A store that the index does not know holds nothing.
        """
        found = await self._on_thread(lambda: [hit for store in dict.fromkeys(vector_store_ids) for hit in self._nearest(store, vector, limit)])
        found.sort(key=lambda hits: -hits[0].similarity)
        return [hit for hits in found[:limit] for hit in hits]

    # ── On the thread ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _on_thread(self, call: Callable[[], T]) -> T:
        def translated() -> T:
            with _search_errors():
                return call()

        return await asyncio.get_running_loop().run_in_executor(self._thread, translated)

    def _connect(self) -> _Client:
        if self._client is None:
            self._own_directory()
            self._client = _open_client(self._path / "chroma")
            for marker in self._markers.iterdir():
                vector_store_id, file_id = marker.name.split("~")
                self._remove(vector_store_id, file_id)
                self._show(vector_store_id, file_id)
        return self._client

    def _own_directory(self) -> None:
        self._markers.mkdir(parents=True, exist_ok=True)
        if self._lock_file is None:
            lock_file = (self._path / "lock").open("wb")
            try:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock_file.close()
                raise SearchError(f"The search index in {self._path} belongs to another process. Stop that server first.") from error
            self._lock_file = lock_file

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._lock_file is not None:
            self._lock_file.close()
        self._client = self._lock_file = None

    @property
    def _markers(self) -> Path:
        return self._path / "incoming"

    def _marker(self, vector_store_id: str, file_id: str) -> Path:
        if not (_SAFE_ID.fullmatch(vector_store_id) and _SAFE_ID.fullmatch(file_id)):
            raise SearchError(f"{vector_store_id!r} or {file_id!r} is no id that the search index can hold.")
        return self._markers / f"{vector_store_id}~{file_id}"

    def _hide(self, vector_store_id: str, file_id: str) -> None:
        """From here on the file is not found; what there was of it is removed."""
        self._connect()
        self._marker(vector_store_id, file_id).touch()
        _sync_directory(self._markers)
        self._hidden.add((vector_store_id, file_id))
        self._remove(vector_store_id, file_id)

    def _remove(self, vector_store_id: str, file_id: str) -> None:
        if collection := self._collection(vector_store_id):
            collection.delete(where={"file_id": file_id})

    def _show(self, vector_store_id: str, file_id: str) -> None:
        self._marker(vector_store_id, file_id).unlink(missing_ok=True)
        self._hidden.discard((vector_store_id, file_id))

    def _upsert(self, vector_store_id: str, records: Sequence[_Record]) -> None:
        collection: _Collection = self._connect().get_or_create_collection(vector_store_id, configuration={"hnsw": _HNSW}, embedding_function=None)
        collection.upsert([record.id for record in records], [record.vector for record in records], [record.metadata for record in records])

    def _drop(self, vector_store_id: str) -> None:
        client = self._connect()
        if self._collection(vector_store_id) is not None:
            client.delete_collection(vector_store_id)
        for store, file_id in [pair for pair in self._hidden if pair[0] == vector_store_id]:
            self._show(store, file_id)

    def _collection(self, vector_store_id: str) -> _Collection | None:
        client = self._connect()
        from chromadb.errors import NotFoundError

        try:
            return client.get_collection(vector_store_id, embedding_function=None)
        except NotFoundError:
            return None

    def _nearest(self, vector_store_id: str, vector: Sequence[float], limit: int) -> list[list[WindowHit]]:
        self._connect()
        collection = self._collection(vector_store_id) if _SAFE_ID.fullmatch(vector_store_id) else None
        if collection is None or not collection.count():
            return []
        hidden = [file_id for store, file_id in self._hidden if store == vector_store_id]
        where = {"file_id": {"$nin": hidden}} if hidden else None
        found = collection.query(query_embeddings=[vector], n_results=limit, where=where, include=["metadatas", "distances"])
        return [_hits(vector_store_id, metadata, 1 - distance) for metadata, distance in zip(found["metadatas"][0], found["distances"][0], strict=True)]


def _open_client(path: Path) -> _Client:
    import chromadb  # takes a second and 65 MB, so only when there is something to index or to find
    from chromadb.config import Settings

    return cast("_Client", chromadb.PersistentClient(str(path), settings=Settings(anonymized_telemetry=False)))


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _search_errors() -> Generator[None]:
    try:
        yield
    except SearchError:
        raise
    except Exception as error:  # Chroma's bindings raise errors of many families
        raise SearchError(f"The search index failed: {error}") from error


# ── Records ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Record:
    id: str
    vector: Sequence[float]
    metadata: Mapping[str, str | int]


def _records(file_id: str, windows: Sequence[IndexedWindow]) -> list[_Record]:
    """A record for each stretch of text; its chunks are "index:start:end", separated by spaces. Ids follow from the place, so adding again is harmless."""
    by_span: dict[tuple[int, int], list[IndexedWindow]] = {}
    for window in windows:
        by_span.setdefault((window.window_start, window.window_end), []).append(window)
    return [
        _Record(
            id=f"{file_id}:{start}:{end}",
            vector=same[0].vector,
            metadata={
                "file_id": file_id,
                "start": start,
                "end": end,
                "chunks": " ".join(f"{window.chunk_index}:{window.chunk_start}:{window.chunk_end}" for window in same),
            },
        )
        for (start, end), same in by_span.items()
    ]


def _hits(vector_store_id: str, metadata: Mapping[str, Any], similarity: float) -> list[WindowHit]:
    hits: list[WindowHit] = []
    for chunk in str(metadata["chunks"]).split():
        index, start, end = (int(number) for number in chunk.split(":"))
        hits.append(WindowHit(vector_store_id, metadata["file_id"], index, start, end, metadata["start"], metadata["end"], similarity))
    return hits
