"""File -> text -> chunks -> vectors -> index; keeps the counts of a vector store true. Knows nothing of runs or HTTP.

A file's row is `in_progress` from the moment it is added, and the row is all that is needed to take the work up again: what a restart finds in progress is
queued anew, and adding a file's windows to the index twice leaves them there once. What the store cannot take now (a full disk) is tried again after a pause.

Windows are put into the index and taken out of it under one lock, which a file's completion is written under too: a completed file always has its own.
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from offline_assistants.domain.file_types import unsearchable
from offline_assistants.domain.forgetting import without_file
from offline_assistants.domain.ids import Clock, Ids
from offline_assistants.domain.objects import (
    ApiObject,
    Assistant,
    Attributes,
    ChunkingStrategy,
    ExpiresAfter,
    File,
    FileError,
    Message,
    RunStep,
    StaticChunkingStrategy,
    Thread,
    Upload,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
)
from offline_assistants.errors import InvalidFile, NotFound, OfflineAssistantsError, RequestError, SearchError, StoreError, UnsupportedFile
from offline_assistants.file_search import canonical_text
from offline_assistants.file_search.chroma_index import IndexedWindow
from offline_assistants.file_search.contexts import embedded_text, indexed_chunks
from offline_assistants.file_search.search_index import SearchIndex
from offline_assistants.ports import Chunk, Documents, ParsedDocument
from offline_assistants.store.blobs import BlobStore
from offline_assistants.store.changes import Change, Exists, Precondition, Put, UpdateEach
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.project_store import ProjectStore
from offline_assistants.store.vector_store_changes import (
    Added,
    AddFiles,
    BeginAgain,
    CancelBatch,
    DeleteFile,
    DeleteStore,
    ExpireStore,
    FinishFile,
    RemoveFile,
    is_same_work,
    store_expired,
)

log = logging.getLogger(__name__)

NUM_WORKERS = 2
"""One file is parsed while another is embedded."""

EMBEDDED_AT_ONCE = 256
"""Windows; texts of like length, which share a batch in the embedder."""
SUPPORTED_FILES = "https://platform.openai.com/docs/assistants/tools/file-search/supported-files"
"""Part of an error text that clients know."""
MAX_SEARCHED_BYTES = 512 * 1024 * 1024
MAX_SEARCHED_TOKENS = 5_000_000

_HOLDERS: tuple[type[ApiObject], ...] = (Assistant, Thread, RunStep, Message, Upload)
"""What may have something of a file beside the vector stores."""


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
    adding: AddFiles
    """The last of the changes; its result is what the store then holds."""
    store: VectorStore
    """As it was before."""


@dataclass(frozen=True, slots=True)
class _Indexable:
    """What a file has become, ready for the index."""

    document: ParsedDocument
    chunks: Sequence[Chunk]
    windows: Sequence[IndexedWindow]
    model: str


class KeyQueue:
    """Keys that wait for a worker, each once. One that comes while a worker has it waits until that worker is done, so that no two have the same."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: set[str] = set()
        self._at_work: set[str] = set()

    def add(self, key: str) -> None:
        if key in self._waiting:
            return
        self._waiting.add(key)
        if key not in self._at_work:
            self._ready.put_nowait(key)

    async def take(self) -> str:
        """The next one; say `done` afterwards."""
        key = await self._ready.get()
        self._waiting.discard(key)
        self._at_work.add(key)
        return key

    def done(self, key: str) -> None:
        self._at_work.discard(key)
        if key in self._waiting:
            self._ready.put_nowait(key)


class Ingestion:
    """Adds files to vector stores and takes them out again."""

    def __init__(
        self, *, store: DuckDBStore, blobs: BlobStore, documents: Documents, index: SearchIndex, ids: Ids, now: Clock, retry_after_s: float = 5.0
    ) -> None:
        """`retry_after_s`: so long a worker waits when the store could not take what it found."""
        self._store = store
        self._blobs = blobs
        self._documents = documents
        self._index = index
        self._ids = ids
        self._now = now
        self._retry_after_s = retry_after_s
        self._queue = KeyQueue()
        self._indexing = asyncio.Lock()
        self._shares_done: dict[str, float] = {}
        """Of files that workers are at, by key."""
        self._workers: list[asyncio.Task[None]] = []
        self._warming: asyncio.Task[None] | None = None
        self._dropping_leftovers: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start the workers, queue what an earlier server left in progress, and begin to drop what it left in the index of deleted files."""
        self._start_workers()
        self._dropping_leftovers = asyncio.create_task(self._drop_leftovers(), name="leftovers")
        async for file in self._store.list_all(VectorStoreFile, where={"status": "in_progress"}):
            self._queue.add(file.key)
        if await self._store.count(VectorStore):
            self._begin_warming()

    def _start_workers(self) -> None:
        self._workers = [asyncio.create_task(self._work(), name=f"ingestion-{number}") for number in range(NUM_WORKERS)]

    async def close(self) -> None:
        """Stop; what is in progress stays so in the store."""
        tasks = [*self._workers, *(task for task in (self._warming, self._dropping_leftovers) if task)]
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
        project: ProjectStore,
        files: Sequence[FileToAdd],
        *,
        name: str | None = None,
        description: str | None = None,
        expires_after: ExpiresAfter | None = None,
        metadata: dict[str, str] | None = None,
    ) -> Plan:
        """A new vector store of a project with `files`. Raises NotFound for a file that does not exist, UnsupportedFile, RequestError for an overlap."""
        now = self._now()
        store = VectorStore(
            id=self._ids.new("vs_"),
            created_at=now,
            name=name or "",
            description=description,
            expires_after=expires_after,
            metadata=metadata or {},
        ).used(now)
        adding = AddFiles(store.id, await self._rows(project, store.id, files, refuse_unsearchable=True))
        return Plan((Put(store), adding), _exist(files), adding, store)

    async def plan_files(
        self, project: ProjectStore, store: VectorStore, files: Sequence[FileToAdd], *, as_batch: bool = False, refuse_unsearchable: bool = False
    ) -> Plan:
        """`files` added to a store that exists; one that is in it already is left as it is (see AddFiles).

        One that cannot be searched fails by itself, or, where the API refuses the whole request, raises UnsupportedFile.

        Raises as plan_store does, and RequestError for a store that has expired.
        """
        now = self._now()
        check_not_expired(store, now)
        batch = VectorStoreFileBatch(id=self._ids.new("vsfb_"), created_at=now, vector_store_id=store.id) if as_batch else None
        adding = AddFiles(
            store.id, await self._rows(project, store.id, files, batch_id=batch.id if batch else None, refuse_unsearchable=refuse_unsearchable), batch
        )
        return Plan((adding,), _exist(files), adding, store)

    async def _rows(
        self, project: ProjectStore, store_id: str, files: Sequence[FileToAdd], *, batch_id: str | None = None, refuse_unsearchable: bool = False
    ) -> tuple[VectorStoreFile, ...]:
        stored = await project.get_many(File, [file.file_id for file in files])
        rows: dict[str, VectorStoreFile] = {}
        for file in files:
            if file.file_id not in stored:
                raise unknown_file(file.file_id)
            rows[file.file_id] = VectorStoreFile(
                id=file.file_id,
                created_at=self._now(),
                vector_store_id=store_id,
                chunking_strategy=_resolved(file.chunking),
                attributes=file.attributes or {},
                batch_id=batch_id,
                filename=stored[file.file_id].filename,
            )
        endings = unsearchable(row.filename for row in rows.values()) if refuse_unsearchable else []
        if endings:
            raise UnsupportedFile(f"Files with extensions [{', '.join(endings)}] are not supported for retrieval. See {SUPPORTED_FILES}", param="file_ids")
        return tuple(rows.values())

    def start(self, plan: Plan) -> None:
        """Begin with the files of a plan that has been committed."""
        self._begin_warming()
        for row in plan.adding.rows:
            self._queue.add(row.key)

    async def carry_out(self, project: ProjectStore, plan: Plan) -> Added:
        """Commit a plan that stands alone, and start it."""
        committed = await project.commit(plan.changes, require=plan.require)
        self.start(plan)
        return committed[plan.adding]

    def files_at_work(self, store_id: str) -> dict[str, float]:
        """The files of a vector store that are being read, each with the share of its text that is embedded: 0 to 1."""
        keys = {key: share for key, share in self._shares_done.items() if key.startswith(f"{store_id}/")}
        return {key.removeprefix(f"{store_id}/"): share for key, share in keys.items()}

    # ── Working ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _work(self) -> None:
        while True:
            key = await self._queue.take()
            self._shares_done[key] = 0.0
            try:
                await self._settle(key)
            except StoreError as error:
                log.warning("%s stays in progress and is tried again in %g s: %s", key, self._retry_after_s, error.message)
                await self._pause(key)
            except Exception:
                log.exception("%s stays in progress and is tried again in %g s", key, self._retry_after_s)
                await self._pause(key)
            finally:
                self._shares_done.pop(key, None)
                self._queue.done(key)

    async def _pause(self, key: str) -> None:
        """The worker itself waits: where nothing can be kept, there is no use in parsing the next file either."""
        await asyncio.sleep(self._retry_after_s)
        self._queue.add(key)

    async def _settle(self, key: str) -> None:
        """Complete or fail a file that is in progress. Raises StoreError: then it still is."""
        row = await self._store.get(VectorStoreFile, key)
        if row is None or row.status != "in_progress":
            return
        try:
            await self._ingest(row)
            return
        except StoreError:
            raise
        except (UnsupportedFile, InvalidFile) as error:
            failure = FileError(code="unsupported_file" if isinstance(error, UnsupportedFile) else "invalid_file", message=error.message)
        except OfflineAssistantsError as error:
            log.warning("file %s of vector store %s: %s", row.id, row.vector_store_id, error.message, exc_info=error.__cause__)
            failure = FileError(code="server_error", message=error.message)
        except Exception:
            log.exception("file %s of vector store %s", row.id, row.vector_store_id)
            failure = FileError(code="server_error", message="The server failed while it read the file. Its log holds the reason.")
        await self._finish(row, {"status": "failed", "last_error": failure})

    async def _ingest(self, row: VectorStoreFile) -> None:
        document = await self._document(row)
        limits = row.chunking_strategy.static
        chunks = await self._documents.chunk(
            document.text, max_chunk_size_tokens=limits.max_chunk_size_tokens, chunk_overlap_tokens=limits.chunk_overlap_tokens
        )
        if len(chunks) * (limits.max_chunk_size_tokens - limits.chunk_overlap_tokens) > MAX_SEARCHED_TOKENS:
            raise InvalidFile(f"The file has more than {MAX_SEARCHED_TOKENS:,} tokens, which is the limit. Split it into several files.")
        await self._keep(row, _Indexable(document, chunks, await self._windows(row.key, document, chunks), await self._documents.model_name()))

    async def _document(self, row: VectorStoreFile) -> ParsedDocument:
        """The text that is kept of a file that was indexed before; else what its parser makes of it."""
        if row.text_digest is not None:
            return canonical_text.load(await self._blobs.read(row.text_digest))
        return await self._documents.parse(row.filename, await self._content(row))

    async def _windows(self, key: str, document: ParsedDocument, chunks: Sequence[Chunk]) -> list[IndexedWindow]:
        """Each window is embedded once, however many chunks it lies in. Vectors are kept as 32-bit numbers: a book has tens of thousands."""
        spans = sorted({window for chunk in chunks for window in chunk.windows}, key=lambda span: span[1] - span[0])
        vectors: dict[tuple[int, int], array[float]] = {}
        for first in range(0, len(spans), EMBEDDED_AT_ONCE):
            batch = spans[first : first + EMBEDDED_AT_ONCE]
            embedded = await self._documents.embed([embedded_text(document, start, end) for start, end in batch], purpose="passage")
            vectors.update((span, array("f", vector)) for span, vector in zip(batch, embedded, strict=True))
            self._shares_done[key] = len(vectors) / len(spans)
        return [IndexedWindow(number, chunk.start, chunk.end, *window, vectors[window]) for number, chunk in enumerate(chunks) for window in chunk.windows]

    async def _content(self, row: VectorStoreFile) -> bytes:
        file = await self._store.get(File, row.id)
        if file is None:
            raise SearchError("The uploaded file was deleted before it was read.")
        if file.bytes > MAX_SEARCHED_BYTES:
            raise InvalidFile(f"The file has {file.bytes} bytes; at most {MAX_SEARCHED_BYTES} can be searched. Split it into several files.")
        try:
            return await self._blobs.read(file.digest)
        except StoreError as error:  # to try again would not bring it back
            raise SearchError("The content of the file is not on the disk any more. Upload it again.") from error

    async def _keep(self, row: VectorStoreFile, found: _Indexable) -> None:
        """Text, windows and status; nothing of it when the file was taken out meanwhile."""
        usage = len(found.document.text.encode()) + sum(4 * len(window.vector) for window in found.windows)
        if row.text_digest is not None:
            await self._publish(row, found, {"status": "completed", "usage_bytes": usage})
            return
        text = await self._blobs.put_bytes(canonical_text.dump(found.document))
        try:
            is_kept = await self._publish(row, found, {"status": "completed", "text_digest": text.digest, "usage_bytes": usage})
        except Exception:  # but not when cancelled: it may have been committed
            await self._blobs.delete(text.digest)
            raise
        if not is_kept:
            await self._blobs.delete(text.digest)

    async def _publish(self, row: VectorStoreFile, found: _Indexable, fields: dict[str, Any]) -> bool:
        async with self._indexing:
            current = await self._store.get(VectorStoreFile, row.key)
            if current is None or not is_same_work(current, row):
                return False
            terms = indexed_chunks(found.document, row.filename, found.chunks)
            await self._index.add(row.vector_store_id, row.id, windows=found.windows, chunks=terms, model=found.model)
            is_kept = await self._finish(row, fields)
            if not is_kept:
                await self._index.delete_file(row.vector_store_id, row.id)
            return is_kept

    async def _finish(self, row: VectorStoreFile, fields: dict[str, Any]) -> bool:
        """Whether the row is still in progress and so could be finished."""
        finishing = FinishFile(row, lambda current: current.model_copy(update=fields))
        return (await self._store.commit([finishing]))[finishing]

    # ── Indexing anew ────────────────────────────────────────────────────────────────────────────────────────────────

    async def reindex(self, store_id: str) -> VectorStore:
        """Rebuild a vector store's indexes from the texts that are kept. Raises NotFound, RequestError while files of it are in progress.

        The files are in progress again, and found again one by one; a restart goes on with them.
        """
        store = await self._store.get(VectorStore, store_id)
        if store is not None and store.file_counts.in_progress:
            raise RequestError(
                f"Vector store {store_id} is being indexed: {store.file_counts.in_progress} of its files are in progress. Wait until they are done."
            )
        beginning = BeginAgain(store_id)
        async with self._indexing:
            rows = (await self._store.commit([beginning]))[beginning]
            await self._index.delete_store(store_id)
        if not self._workers:  # a command, with no server running
            self._start_workers()
        for row in rows:
            self._queue.add(row.key)
        return await self._store.get(VectorStore, store_id) or VectorStore(id=store_id, created_at=self._now())

    # ── Taking out ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def remove_file(self, key: str) -> None:
        """Take a file out of a vector store, its text and vectors included. The uploaded file stays. Raises NotFound."""
        removing = RemoveFile(key)
        await self._forget([(await self._store.commit([removing]))[removing]])

    async def delete_file(self, file: File) -> None:
        """Delete an uploaded file: out of every vector store, and what assistants, threads, steps, messages and uploads have of it. Raises NotFound."""
        deleting = DeleteFile(file.id, unknown_file(file.id))
        rows = (await self._store.commit([deleting, *await self._forgetting(file.id)]))[deleting]
        await self._blobs.delete(file.digest)
        await self._forget(rows)
        await self._store.commit(await self._forgetting(file.id))  # what was written while we looked; from now on nothing can be

    async def _forgetting(self, file_id: str) -> list[Change[Any]]:
        """In every object that names a file, what it has of the file goes."""
        return [UpdateEach(kind, await self._store.mentions(kind, file_id), lambda obj: without_file(obj, file_id)) for kind in _HOLDERS]

    async def remove_store(self, store_id: str) -> None:
        """Delete a vector store with all texts and vectors. The uploaded files stay. Raises NotFound."""
        deleting = DeleteStore(store_id)
        await self._forget_all(store_id, (await self._store.commit([deleting]))[deleting])

    async def expire_store(self, store_id: str) -> None:
        """Delete texts and vectors of a vector store whose time has come; the store itself stays, expired. Nothing happens if it lives on."""
        expiring = ExpireStore(store_id, self._now())
        rows = (await self._store.commit([expiring]))[expiring]
        if rows is not None:
            await self._forget_all(store_id, rows)

    async def cancel_batch(self, batch_id: str) -> VectorStoreFileBatch:
        """Cancel what a batch has still in progress. A worker that is at one of its files finds that out and leaves nothing behind. Raises NotFound."""
        cancelling = CancelBatch(batch_id)
        return (await self._store.commit([cancelling]))[cancelling]

    async def _forget(self, rows: Sequence[VectorStoreFile]) -> None:
        """Texts and windows of files that were taken out. One that was added again, and is completed by now, has its own windows in the index."""
        await self._forget_texts(rows)
        for row in rows:
            async with self._indexing:
                again = await self._store.get(VectorStoreFile, row.key)
                if again is None or again.status != "completed":
                    await self._index.delete_file(row.vector_store_id, row.id)

    async def _forget_all(self, store_id: str, rows: Sequence[VectorStoreFile]) -> None:
        await self._forget_texts(rows)
        async with self._indexing:
            await self._index.delete_store(store_id)

    async def _forget_texts(self, rows: Sequence[VectorStoreFile]) -> None:
        for row in rows:
            if row.text_digest is not None:
                await self._blobs.delete(row.text_digest)

    # ── After a crash ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _drop_leftovers(self) -> None:
        """A server that ended between a deletion and its effect on the index left there what no row tells of."""
        for store_id in await self._index.stores():
            try:
                async with self._indexing:
                    await self._drop_leftovers_of(store_id)
            except OfflineAssistantsError as error:
                log.warning("what deleted files left in the index of %s is looked for again at the next start: %s", store_id, error.message)
            except Exception:
                log.exception("what deleted files left in the index of %s is looked for again at the next start", store_id)

    async def _drop_leftovers_of(self, store_id: str) -> None:
        rows = self._store.list_all(VectorStoreFile, parent={"vector_store_id": store_id})
        file_ids = {row.id async for row in rows if row.status in ("completed", "in_progress")}
        if not file_ids:
            await self._index.delete_store(store_id)
            return
        for file_id in await self._index.files_of(store_id) - file_ids:
            await self._index.delete_file(store_id, file_id)


def check_not_expired(store: VectorStore, now: int) -> None:
    """Raises RequestError for a vector store that cannot be used any more."""
    if store.at(now).status == "expired":
        raise store_expired(store.id)


def unknown_file(file_id: str) -> NotFound:
    return NotFound(f"No such File object: {file_id}", param="id")


def _exist(files: Sequence[FileToAdd]) -> tuple[Precondition, ...]:
    return tuple(Exists(File, file.file_id, unknown_file(file.file_id)) for file in files)


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
