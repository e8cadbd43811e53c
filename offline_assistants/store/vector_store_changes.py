"""Changes of vector stores: files are added, finished and taken out, and the counts of store and batch stay true. Pure.

Each change decides on the write thread, by the rows as they are just then: of eight requests that add the same file at once one adds it, and what a worker
found out about a file is not written to another that took its place meanwhile.

    counts of a store    the files that are in it now, by their status
    counts of a batch    the files that it was made of; one that is taken out, or goes over to another batch, before it is done counts as cancelled
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from offline_assistants.domain.objects import File, FileCounts, VectorStore, VectorStoreFile, VectorStoreFileBatch
from offline_assistants.errors import OfflineAssistantsError, RequestError
from offline_assistants.store.changes import Change, Draft, Name
from offline_assistants.store.tables import TABLES

Deltas = Mapping[str, int]
"""Fields of FileCounts, and by how much each changes."""


@dataclass(frozen=True, slots=True)
class Added:
    store: VectorStore
    files: tuple[VectorStoreFile, ...]
    """All that were asked for, as they are now in the store."""
    batch: VectorStoreFileBatch | None


@dataclass(frozen=True, eq=False)
class AddFiles(Change[Added]):
    """Adds files to a vector store, as a batch if one is given. A file that is in the store already stays as it is, and counts in the batch as what it is.

    One that is still in progress goes over to the new batch and is begun anew, because it can move only one batch on.
    """

    grows: ClassVar[bool] = True
    store_id: str
    rows: tuple[VectorStoreFile, ...]
    batch: VectorStoreFileBatch | None = None
    """Its counts and status are set here."""

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((VectorStore, self.store_id), *((VectorStoreFile, row.key) for row in self.rows))

    def stage(self, draft: Draft) -> Added:
        known = draft.get(VectorStore, self.store_id)
        if known is not None and known.status == "expired":
            raise store_expired(self.store_id)
        files = tuple(self._put(draft, row) for row in self.rows)
        num_new = sum(file is row for file, row in zip(files, self.rows, strict=True))
        store = _count_in_store(draft, self.store_id, {"in_progress": num_new, "total": num_new})
        if self.batch is None:
            return Added(store, files, None)
        counts = FileCounts(total=len(files), **Counter(file.status for file in files))
        batch = self.batch.model_copy(update={"file_counts": counts, "status": "in_progress" if counts.in_progress else "completed"})
        draft.put(batch)
        return Added(store, files, batch)

    def _put(self, draft: Draft, row: VectorStoreFile) -> VectorStoreFile:
        known = draft.get(VectorStoreFile, row.key)
        if known is not None and (self.batch is None or known.status != "in_progress"):
            return known
        if known is not None:
            _take_out(draft, known)
        draft.put(row)
        return row


@dataclass(frozen=True, eq=False)
class FinishFile(Change[bool]):
    """Writes what became of a file; `finish` takes it as it is now. The result is whether it was written: not if `started` is no longer what is in progress."""

    started: VectorStoreFile
    finish: Callable[[VectorStoreFile], VectorStoreFile]

    @property
    def reads(self) -> tuple[Name, ...]:
        batch: tuple[Name, ...] = ((VectorStoreFileBatch, self.started.batch_id),) if self.started.batch_id else ()
        return ((VectorStoreFile, self.started.key), (VectorStore, self.started.vector_store_id), *batch)

    def stage(self, draft: Draft) -> bool:
        row = draft.get(VectorStoreFile, self.started.key)
        if row is None or not is_same_work(row, self.started):
            return False
        done = self.finish(row)
        draft.put(done)
        moved = {"in_progress": -1, done.status: 1}
        _count_in_store(draft, done.vector_store_id, moved, usage_bytes=done.usage_bytes)
        _count_in_batch(draft, done.batch_id, moved)
        return True


def is_same_work(row: VectorStoreFile, started: VectorStoreFile) -> bool:
    """Whether what is found out about `started` is true of `row`, which may have been taken out and added again in between."""
    return row.status == "in_progress" and (row.created_at, row.batch_id, row.chunking_strategy) == (
        started.created_at,
        started.batch_id,
        started.chunking_strategy,
    )


@dataclass(frozen=True, eq=False)
class BeginAgain(Change[list[VectorStoreFile]]):
    """Puts the files of a vector store whose texts are kept in progress again, so that they are indexed anew; the result is these files."""

    store_id: str

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((VectorStore, self.store_id),)

    def stage(self, draft: Draft) -> list[VectorStoreFile]:
        if not draft.has(VectorStore, self.store_id):
            raise TABLES[VectorStore].not_found(self.store_id)
        begun: list[VectorStoreFile] = []
        for row in _rows(draft, {"vector_store_id": self.store_id}):
            if row.text_digest is None or row.status == "in_progress":
                continue
            moved = {row.status: -1, "in_progress": 1}
            _count_in_store(draft, self.store_id, moved, usage_bytes=-row.usage_bytes)
            _count_in_batch(draft, row.batch_id, moved)
            begun.append(draft.put(row.model_copy(update={"status": "in_progress", "usage_bytes": 0, "last_error": None})))
        return begun


@dataclass(frozen=True, eq=False)
class RemoveFile(Change[VectorStoreFile]):
    """Takes a file out of a vector store; the result is what was there."""

    key: str
    missing: OfflineAssistantsError | None = None
    """Raised when it is not there; NotFound if not given."""

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((VectorStoreFile, self.key),)

    def stage(self, draft: Draft) -> VectorStoreFile:
        row = draft.get(VectorStoreFile, self.key)
        if row is None:
            raise self.missing or TABLES[VectorStoreFile].not_found(self.key)
        _take_out(draft, row)
        return row


@dataclass(frozen=True, eq=False)
class DeleteFile(Change[list[VectorStoreFile]]):
    """Forgets an uploaded file, in every vector store too; the result is what was in these."""

    file_id: str
    missing: OfflineAssistantsError | None = None

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((File, self.file_id),)

    def stage(self, draft: Draft) -> list[VectorStoreFile]:
        if not draft.has(File, self.file_id):
            raise self.missing or TABLES[File].not_found(self.file_id)
        rows = _rows(draft, {"file_id": self.file_id})
        for row in rows:
            _take_out(draft, row)
        draft.delete(File, self.file_id)
        return rows


@dataclass(frozen=True, eq=False)
class DeleteStore(Change[list[VectorStoreFile]]):
    """Forgets a vector store with its batches; the result is the files that were in it."""

    store_id: str
    missing: OfflineAssistantsError | None = None

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((VectorStore, self.store_id),)

    def stage(self, draft: Draft) -> list[VectorStoreFile]:
        if not draft.has(VectorStore, self.store_id):
            raise self.missing or TABLES[VectorStore].not_found(self.store_id)
        rows = _emptied(draft, self.store_id)
        draft.delete(VectorStore, self.store_id)
        return rows


@dataclass(frozen=True, eq=False)
class ExpireStore(Change[list[VectorStoreFile] | None]):
    """Empties a vector store whose time has come; it stays, and stays expired. The result is the files that were in it; None when it is to live on."""

    store_id: str
    now: int

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((VectorStore, self.store_id),)

    def stage(self, draft: Draft) -> list[VectorStoreFile] | None:
        store = draft.get(VectorStore, self.store_id)
        if store is None or store.at(self.now).status != "expired":
            return None
        rows = _emptied(draft, self.store_id)
        draft.put(store.model_copy(update={"status": "expired", "file_counts": FileCounts(), "usage_bytes": 0}))
        return rows


def store_expired(store_id: str) -> RequestError:
    """What is said of a vector store that cannot be used any more."""
    return RequestError(f"Vector store {store_id} is expired. Make another one of its files.", code="vector_store_expired")


@dataclass(frozen=True, eq=False)
class CancelBatch(Change[VectorStoreFileBatch]):
    """Those of a batch's files that are still in progress become cancelled. A batch that is done stays as it is."""

    batch_id: str
    missing: OfflineAssistantsError | None = None

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((VectorStoreFileBatch, self.batch_id),)

    def stage(self, draft: Draft) -> VectorStoreFileBatch:
        batch = draft.get(VectorStoreFileBatch, self.batch_id)
        if batch is None:
            raise self.missing or TABLES[VectorStoreFileBatch].not_found(self.batch_id)
        if batch.status != "in_progress":
            return batch
        rows = [row for row in _rows(draft, {"batch_id": self.batch_id}) if row.status == "in_progress"]
        for row in rows:
            draft.put(row.model_copy(update={"status": "cancelled"}))
        moved = {"in_progress": -len(rows), "cancelled": len(rows)}
        _count_in_store(draft, batch.vector_store_id, moved)
        cancelled = batch.model_copy(update={"status": "cancelled", "file_counts": _counted(batch.file_counts, moved)})
        draft.put(cancelled)
        return cancelled


# ── Rows and counts ──────────────────────────────────────────────────────────────────────────────────────────────────


def _rows(draft: Draft, parent: Mapping[str, str]) -> list[VectorStoreFile]:
    found = (draft.get(VectorStoreFile, key) for key in draft.children(VectorStoreFile, parent))
    return [row for row in found if row is not None]


def _emptied(draft: Draft, store_id: str) -> list[VectorStoreFile]:
    """Forgets the files and batches of a vector store; returns these files."""
    rows = _rows(draft, {"vector_store_id": store_id})
    for row in rows:
        draft.delete(VectorStoreFile, row.key)
    for batch_id in draft.children(VectorStoreFileBatch, {"vector_store_id": store_id}):
        draft.delete(VectorStoreFileBatch, batch_id)
    return rows


def _take_out(draft: Draft, row: VectorStoreFile) -> None:
    draft.delete(VectorStoreFile, row.key)
    _count_in_store(draft, row.vector_store_id, {row.status: -1, "total": -1}, usage_bytes=-row.usage_bytes)
    if row.status == "in_progress":
        _count_in_batch(draft, row.batch_id, {"in_progress": -1, "cancelled": 1})


def _count_in_store(draft: Draft, store_id: str, deltas: Deltas, *, usage_bytes: int = 0) -> VectorStore:
    store = draft.get(VectorStore, store_id)
    if store is None:
        raise TABLES[VectorStore].not_found(store_id)
    counts = _counted(store.file_counts, deltas)
    status = "in_progress" if counts.in_progress else "completed"
    changed = store.model_copy(update={"file_counts": counts, "status": status, "usage_bytes": store.usage_bytes + usage_bytes})
    draft.put(changed)
    return changed


def _count_in_batch(draft: Draft, batch_id: str | None, deltas: Deltas) -> None:
    batch = None if batch_id is None else draft.get(VectorStoreFileBatch, batch_id)
    if batch is None:
        return
    counts = _counted(batch.file_counts, deltas)
    status = "completed" if batch.status == "in_progress" and not counts.in_progress else batch.status
    draft.put(batch.model_copy(update={"file_counts": counts, "status": status}))


def _counted(counts: FileCounts, deltas: Deltas) -> FileCounts:
    return counts.model_copy(update={name: getattr(counts, name) + delta for name, delta in deltas.items()})
