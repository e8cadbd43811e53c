"""Where the vectors of windows are kept and found: a Chroma database in one directory. The one import of chromadb.

Texts are not in it, only where they stand: a vector store is a collection, a window is a vector with its file and its offsets. Chroma is opened with the
first call, on a thread of its own, which alone speaks to it: importing and opening it takes about a second and 65 MB.

Up to so many windows a store is read into memory and a question is compared with all of them; above, or while a large one is still being read, Chroma's HNSW
graph finds the nearest. A store remembers the model that its vectors are of, and refuses those of another.

A file appears whole or not at all, also after a crash: before its windows are written, a marker with its name is; while the marker is there, the file is
hidden from queries, and when the index is opened, windows that a marker tells of are removed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self, TypeVar, cast

import numpy as np

from offline_assistants.errors import EmbeddingModelChanged, SearchError
from offline_assistants.file_search.exact_vectors import BYTES_BESIDE_VECTOR, ChunkSpan, FileVectors, Span, StoreVectors, Vectors, products
from offline_assistants.file_search.ranking import Place, WindowHit
from offline_assistants.file_search.safe_ids import SAFE_ID

T = TypeVar("T")

_BATCH_WINDOWS = 256
"""Written at once: about a tenth of a second, then a query may come between."""
_HNSW = {"space": "cosine", "max_neighbors": 32, "ef_construction": 200, "ef_search": 640}
"""Chroma's defaults (16, 100, 100) lose up to a sixth of the nearest vectors at 10,000; with these none was lost at 5,000, for 3 ms a query."""
_PAGE_WINDOWS = 5000
"""Read at once: under half a second, then a query may come between."""
_READ_AT_ONCE = 10_000
"""A store of so many windows is read before its first question is answered; a larger one is searched through HNSW until it is there."""
_MODEL = "embedding_model"
_ERROR_CHARS = 200
"""Some of Chroma's errors hold the vectors that they are about."""


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

    metadata: Mapping[str, Any] | None

    def get(self, *, ids: Any = None, limit: int | None = None, offset: int | None = None, include: Any) -> Any: ...
    def upsert(self, ids: list[str], embeddings: Any, metadatas: Any) -> None: ...
    def delete(self, ids: Any = None, where: Any = None) -> Any: ...
    def query(self, *, query_embeddings: Any, n_results: int, where: Any, include: Any) -> Any: ...
    def count(self) -> int: ...


class _Client(Protocol):
    """What is used of chromadb's client."""

    def create_collection(self, name: str, *, configuration: Any, metadata: Any, embedding_function: Any) -> Any: ...
    def get_collection(self, name: str, *, embedding_function: Any) -> Any: ...
    def delete_collection(self, name: str) -> None: ...
    def close(self) -> None: ...


class ChromaIndex:
    """The index in `path`, which belongs to one process at a time. Use as an async context manager, in one event loop."""

    def __init__(self, path: Path, *, max_exact_windows: int = 150_000, max_memory_bytes: int = 256 * 2**20) -> None:
        """`max_exact_windows`: larger stores go through HNSW; 0 sends all there. `max_memory_bytes`: of stores that are kept in memory."""
        self._path = path
        self._max_exact_windows = max_exact_windows
        self._max_memory_bytes = max_memory_bytes
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chroma")
        self._exact_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="exact-search")
        self._writing = asyncio.Lock()
        self._hidden: set[tuple[str, str]] = set()
        self._in_memory: OrderedDict[str, StoreVectors] = OrderedDict()
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._added_meanwhile: dict[str, dict[str, FileVectors]] = {}
        """Of stores that are being read."""
        self._spoilt: set[str] = set()
        """Stores that something was deleted from, perhaps while they were read."""
        self._models: dict[str, str] = {}
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
        for task in self._reading.values():
            task.cancel()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()
        self._exact_thread.shutdown()

    async def add(self, vector_store_id: str, file_id: str, windows: Sequence[IndexedWindow], *, model: str = "") -> None:
        """Put a file into a vector store, in place of what was there of it. `model` names what made the vectors. Raises SearchError, EmbeddingModelChanged.

        When this is cancelled or fails, the file is not found until it is added again; `delete_file` removes what is left of it.
        """
        records = _records(file_id, windows)
        async with self._writing:
            await self._on_thread(lambda: self._check_model(vector_store_id, model))
            await self._on_thread(lambda: self._hide(vector_store_id, file_id))
            self._forget_in_memory(vector_store_id, file_id)
            for start in range(0, len(records), _BATCH_WINDOWS):
                batch = records[start : start + _BATCH_WINDOWS]
                await self._on_thread(lambda batch=batch: self._upsert(vector_store_id, batch, model))
            await self._on_thread(lambda: self._show(vector_store_id, file_id))
            self._remember_in_memory(vector_store_id, file_id, records)

    async def delete_file(self, vector_store_id: str, file_id: str) -> None:
        """Take a file out of a vector store, if it is there. Raises SearchError."""

        def delete() -> None:
            self._hide(vector_store_id, file_id)
            self._show(vector_store_id, file_id)

        async with self._writing:
            await self._on_thread(delete)
            self._forget_in_memory(vector_store_id, file_id)

    async def delete_store(self, vector_store_id: str) -> None:
        """Forget a vector store, if it is there. Raises SearchError."""
        async with self._writing:
            await self._on_thread(lambda: self._drop(vector_store_id))
            self._in_memory.pop(vector_store_id, None)

    async def query(
        self, vector_store_ids: Sequence[str], vector: Sequence[float], limit: int, *, file_ids: Collection[str] | None = None, model: str = ""
    ) -> list[WindowHit]:
        """The `limit` nearest windows of all the stores together, nearest first, once for each chunk that they lie in.

        `file_ids`: only windows of these. A store that the index does not know holds nothing. Raises SearchError, EmbeddingModelChanged.
        """
        found: list[list[WindowHit]] = []
        for store in dict.fromkeys(vector_store_ids):
            found += await self._nearest(store, np.array(vector, dtype=np.float32), limit, file_ids, model)
        found.sort(key=lambda hits: -hits[0].similarity)
        return [hit for hits in found[:limit] for hit in hits]

    async def similarities(self, vector: Sequence[float], windows: Mapping[Place, Sequence[Span]]) -> dict[Place, tuple[float, Span]]:
        """The nearest of some windows of each chunk, and how near. A chunk whose windows are not there is left out. Raises SearchError."""
        array = np.array(vector, dtype=np.float32)
        by_store: dict[str, dict[Place, Sequence[Span]]] = {}
        for place, spans in windows.items():
            by_store.setdefault(place.vector_store_id, {})[place] = spans
        nearest: dict[Place, tuple[float, Span]] = {}
        for store, of_store in by_store.items():
            if (kept := self._in_memory.get(store)) is not None:
                nearest |= await self._on_exact_thread(lambda kept=kept, of_store=of_store: _nearest_in_memory(kept, array, of_store))
            else:
                nearest |= await self._on_thread(lambda store=store, of_store=of_store: self._nearest_in_chroma(store, array, of_store))
        return nearest

    # ── In memory ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _nearest(self, vector_store_id: str, vector: Vectors, limit: int, file_ids: Collection[str] | None, model: str) -> list[list[WindowHit]]:
        if not SAFE_ID.fullmatch(vector_store_id):
            return []
        kept = self._in_memory.get(vector_store_id)
        if kept is None:
            num_windows = await self._on_thread(lambda: self._count(vector_store_id, len(vector), model))
            if self._fits_in_memory(num_windows, len(vector)):
                reading = self._begin_reading(vector_store_id)
                if num_windows <= _READ_AT_ONCE:
                    await asyncio.wait([reading])
                    kept = self._in_memory.get(vector_store_id)
        if kept is None:
            return await self._on_thread(lambda: self._query_chroma(vector_store_id, vector, limit, file_ids))
        self._in_memory.move_to_end(vector_store_id)
        self._check_known_model(vector_store_id, model)
        return await self._on_exact_thread(lambda: kept.nearest(vector_store_id, vector, limit, file_ids=file_ids))

    def _fits_in_memory(self, num_windows: int, dimensions: int) -> bool:
        return 0 < num_windows <= self._max_exact_windows and num_windows * (4 * dimensions + BYTES_BESIDE_VECTOR) <= self._max_memory_bytes

    def _begin_reading(self, vector_store_id: str) -> asyncio.Task[None]:
        reading = self._reading.get(vector_store_id)
        if reading is None:
            reading = self._reading[vector_store_id] = asyncio.create_task(self._read(vector_store_id), name=f"reading-{vector_store_id}")
            reading.add_done_callback(lambda _: self._reading.pop(vector_store_id, None))
        return reading

    async def _read(self, vector_store_id: str) -> None:
        """A store into memory. What is added meanwhile is put on top; when something is deleted meanwhile, pages shift, and the next question tries again."""
        self._spoilt.discard(vector_store_id)
        added = self._added_meanwhile[vector_store_id] = {}
        try:
            pages: dict[str, list[_Page]] = {}
            offset, num_read = 0, _PAGE_WINDOWS
            while num_read == _PAGE_WINDOWS:
                page = await self._on_thread(lambda offset=offset: self._page(vector_store_id, offset))
                num_read = sum(len(each.windows) for each in page.values())
                offset += num_read
                for file_id, each in page.items():
                    pages.setdefault(file_id, []).append(each)
            if vector_store_id not in self._spoilt:
                hidden = self._hidden_files(vector_store_id)
                whole = {file_id: _joined(parts) for file_id, parts in pages.items() if file_id not in hidden}
                self._in_memory[vector_store_id] = StoreVectors({**whole, **added})
                self._keep_within_bounds()
        finally:
            del self._added_meanwhile[vector_store_id]

    def _remember_in_memory(self, vector_store_id: str, file_id: str, records: Sequence[_Record]) -> None:
        if records and vector_store_id in self._added_meanwhile:
            self._added_meanwhile[vector_store_id][file_id] = _file_vectors(records)
        kept = self._in_memory.get(vector_store_id)
        if kept is None:
            return
        if kept.num_windows + len(records) > self._max_exact_windows:
            del self._in_memory[vector_store_id]
            return
        if records:
            self._in_memory[vector_store_id] = kept.with_file(file_id, _file_vectors(records))
        self._keep_within_bounds()

    def _forget_in_memory(self, vector_store_id: str, file_id: str) -> None:
        if vector_store_id in self._in_memory:
            self._in_memory[vector_store_id] = self._in_memory[vector_store_id].without_file(file_id)

    def _keep_within_bounds(self) -> None:
        """The stores that were asked longest ago go first."""
        while self._in_memory and sum(kept.num_bytes for kept in self._in_memory.values()) > self._max_memory_bytes:
            self._in_memory.popitem(last=False)

    async def _on_exact_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._exact_thread, _translated(call))

    # ── On the thread ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _on_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, _translated(call))

    def _connect(self) -> _Client:
        if self._client is None:
            self._own_directory()
            self._client = _open_client(self._path / "chroma")
            self._drop_dead_graphs()
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
        if not (SAFE_ID.fullmatch(vector_store_id) and SAFE_ID.fullmatch(file_id)):
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
        if (collection := self._collection(vector_store_id)) is not None:
            before = collection.count()
            collection.delete(where={"file_id": file_id})
            if collection.count() != before:
                self._spoilt.add(vector_store_id)

    def _show(self, vector_store_id: str, file_id: str) -> None:
        self._marker(vector_store_id, file_id).unlink(missing_ok=True)
        self._hidden.discard((vector_store_id, file_id))

    def _upsert(self, vector_store_id: str, records: Sequence[_Record], model: str) -> None:
        collection = self._collection(vector_store_id)
        if collection is None:
            collection = self._connect().create_collection(vector_store_id, configuration={"hnsw": _HNSW}, metadata={_MODEL: model}, embedding_function=None)
        vectors = np.array([record.vector for record in records], dtype=np.float32)
        collection.upsert([record.id for record in records], vectors, [record.metadata for record in records])

    def _check_model(self, vector_store_id: str, model: str) -> None:
        """Raises EmbeddingModelChanged when the store holds vectors of another model."""
        if vector_store_id not in self._models:
            collection = self._collection(vector_store_id)
            if collection is None:
                return
            self._models[vector_store_id] = str((collection.metadata or {}).get(_MODEL, ""))
        self._check_known_model(vector_store_id, model)

    def _check_known_model(self, vector_store_id: str, model: str) -> None:
        known = self._models.get(vector_store_id, model)
        if known != model:
            raise EmbeddingModelChanged(
                f"Vector store {vector_store_id} was indexed with the embedding model {known or 'unnamed'}, but the server has {model or 'unnamed'}. "
                f"Run `offline-assistants vector-stores reindex {vector_store_id}`, or start the server with the former model."
            )

    def _count(self, vector_store_id: str, dimensions: int, model: str) -> int:
        collection = self._collection(vector_store_id)
        self._check_model(vector_store_id, model)
        return collection.count() if collection is not None else 0

    def _drop(self, vector_store_id: str) -> None:
        client = self._connect()
        if self._collection(vector_store_id) is not None:
            client.delete_collection(vector_store_id)
            self._drop_dead_graphs()
        self._models.pop(vector_store_id, None)
        self._spoilt.add(vector_store_id)
        for store, file_id in [pair for pair in self._hidden if pair[0] == vector_store_id]:
            self._show(store, file_id)

    def _drop_dead_graphs(self) -> None:
        """Chroma forgets a collection, but leaves the directory with its HNSW graph, which holds the vectors."""
        with closing(sqlite3.connect(f"{(self._path / 'chroma' / 'chroma.sqlite3').resolve().as_uri()}?mode=ro", uri=True)) as database:
            alive = {segment_id for (segment_id,) in database.execute("SELECT id FROM segments")}
        for directory in (self._path / "chroma").iterdir():
            if directory.is_dir() and directory.name not in alive:
                shutil.rmtree(directory)

    def _collection(self, vector_store_id: str) -> _Collection | None:
        client = self._connect()
        from chromadb.errors import NotFoundError

        try:
            return client.get_collection(vector_store_id, embedding_function=None)
        except NotFoundError:
            return None

    def _hidden_files(self, vector_store_id: str) -> set[str]:
        return {file_id for store, file_id in self._hidden if store == vector_store_id}

    def _query_chroma(self, vector_store_id: str, vector: Vectors, limit: int, file_ids: Collection[str] | None) -> list[list[WindowHit]]:
        collection = self._collection(vector_store_id)
        hidden = self._hidden_files(vector_store_id)
        allowed = None if file_ids is None else sorted(set(file_ids) - hidden)
        if collection is None or not collection.count() or allowed == []:
            return []
        where: dict[str, Any] | None = {"file_id": {"$nin": sorted(hidden)}} if hidden else None
        if allowed is not None:
            where = {"file_id": {"$in": allowed}}
        found = collection.query(query_embeddings=[vector], n_results=limit, where=where, include=["metadatas", "distances"])
        return [
            [
                WindowHit(Place(vector_store_id, metadata["file_id"], chunk.index, chunk.start, chunk.end), (metadata["start"], metadata["end"]), 1 - distance)
                for chunk in _chunks_in(metadata)
            ]
            for metadata, distance in zip(found["metadatas"][0], found["distances"][0], strict=True)
        ]

    def _nearest_in_chroma(self, vector_store_id: str, vector: Vectors, windows: Mapping[Place, Sequence[Span]]) -> dict[Place, tuple[float, Span]]:
        collection = self._collection(vector_store_id)
        hidden = self._hidden_files(vector_store_id)
        ids = {_record_id(place.file_id, span) for place, spans in windows.items() if place.file_id not in hidden for span in spans}
        if collection is None or not ids:
            return {}
        found = collection.get(ids=sorted(ids), include=["embeddings"])
        if not found["ids"]:
            return {}
        near = dict(zip(found["ids"], products(np.asarray(found["embeddings"], dtype=np.float32), vector).tolist(), strict=True))
        return _best_of({place: {span: near.get(_record_id(place.file_id, span)) for span in spans} for place, spans in windows.items()})

    def _page(self, vector_store_id: str, offset: int) -> dict[str, _Page]:
        """The next windows of a store, by file; none at its end."""
        collection = self._collection(vector_store_id)
        if collection is None or offset >= collection.count():
            return {}
        page = collection.get(limit=_PAGE_WINDOWS, offset=offset, include=["embeddings", "metadatas"])
        by_file: dict[str, list[int]] = {}
        for row, metadata in enumerate(page["metadatas"]):
            by_file.setdefault(metadata["file_id"], []).append(row)
        vectors: Vectors = np.asarray(page["embeddings"], dtype=np.float32)
        return {file_id: _Page(vectors[rows], [_window_of(page["metadatas"][row]) for row in rows]) for file_id, rows in by_file.items()}


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


def _translated(call: Callable[[], T]) -> Callable[[], T]:
    def translated() -> T:
        with _search_errors():
            return call()

    return translated


@contextmanager
def _search_errors() -> Generator[None]:
    try:
        yield
    except SearchError:
        raise
    except Exception as error:  # Chroma's bindings raise errors of many families
        raise SearchError(f"The search index failed: {str(error)[:_ERROR_CHARS]}") from error


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
            id=_record_id(file_id, (start, end)),
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


def _record_id(file_id: str, span: Span) -> str:
    return f"{file_id}:{span[0]}:{span[1]}"


_Window = tuple[Span, list[ChunkSpan]]


@dataclass(frozen=True, slots=True)
class _Page:
    """Some windows of one file, as they are read, and a row of `vectors` for each."""

    vectors: Vectors
    windows: list[_Window]


def _window_of(metadata: Mapping[str, Any]) -> _Window:
    return (metadata["start"], metadata["end"]), _chunks_in(metadata)


def _chunks_in(metadata: Mapping[str, Any]) -> list[ChunkSpan]:
    return [ChunkSpan(*(int(number) for number in chunk.split(":"))) for chunk in metadata["chunks"].split()]


def _file_vectors(records: Sequence[_Record]) -> FileVectors:
    """The windows of one file."""
    return FileVectors.of((_window_of(record.metadata) for record in records), np.array([record.vector for record in records], dtype=np.float32))


def _joined(parts: Sequence[_Page]) -> FileVectors:
    return FileVectors.of((window for part in parts for window in part.windows), np.concatenate([part.vectors for part in parts]))


def _nearest_in_memory(kept: StoreVectors, vector: Vectors, windows: Mapping[Place, Sequence[Span]]) -> dict[Place, tuple[float, Span]]:
    return _best_of({place: kept.similarities(vector, place.file_id, spans) for place, spans in windows.items()})


def _best_of(near: Mapping[Place, Mapping[Span, float | None]]) -> dict[Place, tuple[float, Span]]:
    best: dict[Place, tuple[float, Span]] = {}
    for place, of_windows in near.items():
        known = [(similarity, span) for span, similarity in of_windows.items() if similarity is not None]
        if known:
            best[place] = max(known)
    return best
