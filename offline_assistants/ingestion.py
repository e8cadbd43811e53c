"""File -> text -> chunks -> vectors -> index; keeps the counts of a vector store true. Knows nothing of runs or HTTP.

A file's row is `in_progress` from the moment it is added, and the row is all that is needed to take the work up again: what a restart finds in progress is
queued anew, and adding a file's windows to the index twice leaves them there once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from offline_assistants.domain.ids import Clock, Ids
from offline_assistants.domain.objects import (
    Attributes,
    ChunkingStrategy,
    ExpiresAfter,
    File,
    FileCounts,
    FileError,
    StaticChunkingStrategy,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
    vector_store_file_key,
)
from offline_assistants.errors import InvalidFile, NotFound, OfflineAssistantsError, RequestError, SearchError, UnsupportedFile
from offline_assistants.file_search import canonical_text
from offline_assistants.file_search.chroma_index import ChromaIndex, IndexedWindow
from offline_assistants.ports import Documents
from offline_assistants.store.blobs import BlobStore
from offline_assistants.store.changes import Change, Delete, DeleteChildren, Exists, Precondition, Put, Update
from offline_assistants.store.duckdb_store import DuckDBStore

log = logging.getLogger(__name__)

NUM_WORKERS = 2
"""One file is parsed while another is embedded."""


@dataclass(frozen=True, slots=True)
class FileToAdd:
    file_id: str
    chunking: ChunkingStrategy | None = None
    attributes: Attributes | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes that add files to a vector store: commit them, then `start` the files."""

    changes: tuple[Change[Any], ...]
    require: tuple[Precondition, ...]
    files: tuple[VectorStoreFile, ...]
    store: VectorStore
    batch: VectorStoreFileBatch | None = None


class Ingestion:
    """Adds files to vector stores and takes them out again."""

    def __init__(self, *, store: DuckDBStore, blobs: BlobStore, documents: Documents, index: ChromaIndex, ids: Ids, now: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._documents = documents
        self._index = index
        self._ids = ids
        self._now = now
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._warming: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start the workers, and queue what an earlier server left in progress."""
        self._workers = [asyncio.create_task(self._work(), name=f"ingestion-{number}") for number in range(NUM_WORKERS)]
        async for file in self._store.list_all(VectorStoreFile, where={"status": "in_progress"}):
            self._queue.put_nowait(file.key)
        if await self._store.count(VectorStore):
            self._begin_warming()

    async def close(self) -> None:
        """Stop; what is in progress stays so in the store."""
        tasks = [*self._workers, *([self._warming] if self._warming else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin_warming(self) -> None:
        """Who has a vector store will soon embed a file or a question, and loading the embedder takes seconds."""
        if self._warming is None:
            self._warming = asyncio.create_task(self._warm(), name="warming")

    async def _warm(self) -> None:
        try:
            await self._documents.warm()
        except SearchError as error:
            log.warning("%s", error.message)

    # ── Planning: pure changes, so that a thread and its vector store are made in one transaction ────────────────────

    async def plan_store(
        self,
        files: Sequence[FileToAdd],
        *,
        name: str | None = None,
        description: str | None = None,
        expires_after: ExpiresAfter | None = None,
        metadata: dict[str, str] | None = None,
    ) -> Plan:
        """A new vector store with `files`. Raises NotFound for a file that does not exist, RequestError for an overlap that is too large."""
        now = self._now()
        store_id = self._ids.new("vs_")
        rows = await self._rows(store_id, files, batch_id=None)
        empty = VectorStore(
            id=store_id,
            created_at=now,
            name=name,
            description=description,
            expires_after=expires_after,
            metadata=metadata or {},
        )
        store = _grown(empty.used(now), in_progress=len(rows), total=len(rows))
        return Plan((Put(store), *(Put(row) for row in rows)), _exist(files), tuple(rows), store)

    async def plan_files(self, store: VectorStore, files: Sequence[FileToAdd], *, as_batch: bool = False) -> Plan:
        """`files` added to a store that exists; one that is in it already is left as it is. Raises as plan_store does."""
        batch_id = self._ids.new("vsfb_") if as_batch else None
        known = await self._store.get_many(VectorStoreFile, [vector_store_file_key(store.id, file.file_id) for file in files])
        fresh = [file for file in files if vector_store_file_key(store.id, file.file_id) not in known]
        rows = await self._rows(store.id, fresh, batch_id=batch_id)
        num_known = len({file.file_id for file in files}) - len(rows)
        counts = FileCounts(in_progress=len(rows), completed=num_known, total=len(rows) + num_known)
        batch = None
        changes: list[Change[Any]] = [Update(VectorStore, store.id, lambda old: _grown(old, in_progress=len(rows), total=len(rows)))]
        if batch_id is not None:
            status = "in_progress" if rows else "completed"
            batch = VectorStoreFileBatch(id=batch_id, created_at=self._now(), vector_store_id=store.id, status=status, file_counts=counts)
            changes.append(Put(batch))
        changes += [Put(row) for row in rows]
        return Plan(tuple(changes), _exist(files), tuple(rows), store, batch)

    async def _rows(self, store_id: str, files: Sequence[FileToAdd], *, batch_id: str | None) -> list[VectorStoreFile]:
        stored = await self._store.get_many(File, [file.file_id for file in files])
        rows: dict[str, VectorStoreFile] = {}
        for file in files:
            if file.file_id not in stored:
                raise NotFound(f"No such File object: {file.file_id}", param="id")
            rows[file.file_id] = VectorStoreFile(
                id=file.file_id,
                created_at=self._now(),
                vector_store_id=store_id,
                chunking_strategy=_resolved(file.chunking),
                attributes=file.attributes or {},
                batch_id=batch_id,
                filename=stored[file.file_id].filename,
            )
        return list(rows.values())

    def start(self, plan: Plan) -> None:
        """Begin with the files of a plan that has been committed."""
        self._begin_warming()
        for file in plan.files:
            self._queue.put_nowait(file.key)

    async def carry_out(self, plan: Plan) -> None:
        """Commit a plan that stands alone, and start it."""
        await self._store.commit(plan.changes, require=plan.require)
        self.start(plan)

    # ── Working ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            file = await self._store.get(VectorStoreFile, key)
            if file is None or file.status != "in_progress":
                continue
            try:
                await self._ingest(file)
            except (UnsupportedFile, InvalidFile) as error:
                await self._fail(file, "unsupported_file" if isinstance(error, UnsupportedFile) else "invalid_file", error.message)
            except OfflineAssistantsError as error:
                log.warning("file %s of vector store %s: %s", file.id, file.vector_store_id, error.message, exc_info=error.__cause__)
                await self._fail(file, "server_error", error.message)
            except Exception:
                log.exception("file %s of vector store %s", file.id, file.vector_store_id)
                await self._fail(file, "server_error", "The server failed while it read the file. Its log holds the reason.")

    async def _ingest(self, row: VectorStoreFile) -> None:
        file = await self._store.get(File, row.id)
        if file is None:
            return
        document = await self._documents.parse(file.filename, await self._blobs.read(file.digest))
        limits = row.chunking_strategy.static
        chunks = await self._documents.chunk(
            document.text, max_chunk_size_tokens=limits.max_chunk_size_tokens, chunk_overlap_tokens=limits.chunk_overlap_tokens
        )
        places = [(number, chunk, window) for number, chunk in enumerate(chunks) for window in chunk.windows]
        vectors = await self._documents.embed([document.text[start:end] for _, _, (start, end) in places])
        windows = [
            IndexedWindow(number, chunk.start, chunk.end, start, end, vector) for (number, chunk, (start, end)), vector in zip(places, vectors, strict=True)
        ]
        blob = await self._blobs.put_bytes(canonical_text.dump(document))
        await self._index.add(row.vector_store_id, row.id, windows)
        usage = len(document.text.encode()) + sum(4 * len(vector) for vector in vectors)
        await self._finish(row, {"status": "completed", "text_digest": blob.digest, "usage_bytes": usage})

    async def _fail(self, row: VectorStoreFile, code: str, message: str) -> None:
        await self._finish(row, {"status": "failed", "last_error": FileError.model_validate({"code": code, "message": message})})

    async def _finish(self, row: VectorStoreFile, fields: dict[str, Any]) -> None:
        """The file, its store and its batch, changed together. A file that was taken out meanwhile leaves nothing in the index."""
        done = row.model_copy(update=fields)
        changes: list[Change[Any]] = [Put(done)]
        changes.append(Update(VectorStore, row.vector_store_id, lambda old: _grown(old, usage_bytes=done.usage_bytes, **{"in_progress": -1, done.status: 1})))
        if row.batch_id is not None:
            changes.append(Update(VectorStoreFileBatch, row.batch_id, lambda old: _batch_grown(old, **{"in_progress": -1, done.status: 1})))
        try:
            await self._store.commit(changes, require=[Exists(VectorStoreFile, row.key), Exists(VectorStore, row.vector_store_id)])
        except NotFound:
            await self._index.delete_file(row.vector_store_id, row.id)

    # ── Taking out ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def remove_file(self, row: VectorStoreFile) -> None:
        """Take a file out of a vector store, its text and vectors included. The uploaded file stays."""
        shrink = Update(VectorStore, row.vector_store_id, lambda old: _grown(old, usage_bytes=-row.usage_bytes, **{row.status: -1, "total": -1}))
        await self._store.commit([Delete(VectorStoreFile, row.key), shrink], require=[Exists(VectorStoreFile, row.key)])
        await self._index.delete_file(row.vector_store_id, row.id)
        await self._forget_text(row)

    async def remove_file_everywhere(self, file_id: str) -> None:
        """An uploaded file is deleted: no vector store keeps it."""
        async for row in self._store.list_all(VectorStoreFile, parent={"file_id": file_id}):
            await self.remove_file(row)

    async def remove_store(self, store_id: str) -> None:
        """Delete a vector store with all texts and vectors. The uploaded files stay."""
        rows = [row async for row in self._store.list_all(VectorStoreFile, parent={"vector_store_id": store_id})]
        children = [DeleteChildren(kind, {"vector_store_id": store_id}) for kind in (VectorStoreFile, VectorStoreFileBatch)]
        await self._store.commit([Delete(VectorStore, store_id), *children])
        await self._index.delete_store(store_id)
        for row in rows:
            await self._forget_text(row)

    async def _forget_text(self, row: VectorStoreFile) -> None:
        if row.text_digest is not None and not await self._store.count(VectorStoreFile, where={"text_digest": row.text_digest}):
            await self._blobs.delete(row.text_digest)


def _exist(files: Sequence[FileToAdd]) -> tuple[Precondition, ...]:
    return tuple(Exists(File, file.file_id, NotFound(f"No such File object: {file.file_id}", param="id")) for file in files)


def _resolved(chunking: ChunkingStrategy | None) -> StaticChunkingStrategy:
    """`auto`, or nothing, means static 800/400. Raises RequestError for an overlap of more than half a chunk."""
    strategy = chunking if isinstance(chunking, StaticChunkingStrategy) else StaticChunkingStrategy()
    if strategy.static.chunk_overlap_tokens > strategy.static.max_chunk_size_tokens // 2:
        raise RequestError(
            "Invalid 'chunking_strategy.static.chunk_overlap_tokens': it may be at most half of 'max_chunk_size_tokens'.",
            param="chunking_strategy.static.chunk_overlap_tokens",
            code="invalid_value",
        )
    return strategy


def _counted(counts: FileCounts, deltas: dict[str, int]) -> FileCounts:
    return counts.model_copy(update={name: max(0, getattr(counts, name) + delta) for name, delta in deltas.items()})


def _grown(store: VectorStore, *, usage_bytes: int = 0, **deltas: int) -> VectorStore:
    counts = _counted(store.file_counts, deltas)
    status = store.status if store.status == "expired" else "in_progress" if counts.in_progress else "completed"
    return store.model_copy(update={"file_counts": counts, "status": status, "usage_bytes": max(0, store.usage_bytes + usage_bytes)})


def _batch_grown(batch: VectorStoreFileBatch, **deltas: int) -> VectorStoreFileBatch:
    counts = _counted(batch.file_counts, deltas)
    status = "completed" if batch.status == "in_progress" and not counts.in_progress else batch.status
    return batch.model_copy(update={"file_counts": counts, "status": status})
