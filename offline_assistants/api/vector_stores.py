"""/v1/vector_stores, their files and batches"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from fastapi import APIRouter, Response

from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.api.ignored_parameters import ignored_header
from offline_assistants.api.parts import Parts, PartsDep, deleted, page_of
from offline_assistants.api.requests import (
    CreateFileBatch,
    CreateVectorStore,
    CreateVectorStoreFile,
    Limit,
    ModifyVectorStore,
    ModifyVectorStoreFile,
    Order,
    SearchRankingOptions,
    SearchVectorStore,
)
from offline_assistants.api.resources import unknown_vector_store
from offline_assistants.domain.attribute_filters import AttributeFilter
from offline_assistants.domain.objects import FileStatus, VectorStore, VectorStoreFile, VectorStoreFileBatch, vector_store_file_key
from offline_assistants.errors import NotFound, RequestError
from offline_assistants.ingestion import FileToAdd, check_not_expired
from offline_assistants.store.changes import Update

router = APIRouter(prefix="/v1/vector_stores", route_class=CheckedRoute)
POLL_HEADERS = {"openai-poll-after-ms": "250"}


async def get_store(parts: Parts, vector_store_id: str) -> VectorStore:
    """As it is now: expired when its time has come."""
    store = await parts.store.get(VectorStore, vector_store_id)
    if store is None:
        raise unknown_vector_store(vector_store_id)
    return store.at(parts.now())


async def get_store_file(parts: Parts, vector_store_id: str, file_id: str) -> VectorStoreFile:
    await get_store(parts, vector_store_id)
    row = await parts.store.get(VectorStoreFile, vector_store_file_key(vector_store_id, file_id))
    if row is None:
        raise unknown_store_file(vector_store_id, file_id)
    return row


def unknown_store_file(vector_store_id: str, file_id: str) -> NotFound:
    return NotFound(f"No file found with id '{file_id}' in vector store '{vector_store_id}'.")


async def get_batch(parts: Parts, vector_store_id: str, batch_id: str) -> VectorStoreFileBatch:
    await get_store(parts, vector_store_id)
    batch = await parts.store.get(VectorStoreFileBatch, batch_id)
    if batch is None or batch.vector_store_id != vector_store_id:
        raise NotFound(f"No file batch found with id '{batch_id}'.")
    return batch


# ── Stores ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("")
async def create_vector_store(parts: PartsDep, body: CreateVectorStore | None = None) -> dict[str, Any]:
    body = body or CreateVectorStore()
    files = [FileToAdd(file_id, body.chunking_strategy) for file_id in body.file_ids]
    plan = await parts.ingestion.plan_store(
        parts.store, files, name=body.name, description=body.description, expires_after=body.expires_after, metadata=body.metadata
    )
    return (await parts.ingestion.carry_out(parts.store, plan)).store.wire()


@router.get("")
async def list_vector_stores(parts: PartsDep, limit: Limit = 20, order: Order = "desc", after: str | None = None, before: str | None = None) -> dict[str, Any]:
    page = await parts.store.list_page(VectorStore, limit=limit, order=order, after=after, before=before)
    return page_of([store.at(parts.now()) for store in page.items], has_more=page.has_more)


@router.get("/{vector_store_id}")
async def retrieve_vector_store(vector_store_id: str, parts: PartsDep, response: Response) -> dict[str, Any]:
    response.headers.update(POLL_HEADERS)
    return (await get_store(parts, vector_store_id)).wire()


@router.post("/{vector_store_id}")
async def modify_vector_store(vector_store_id: str, body: ModifyVectorStore, parts: PartsDep) -> dict[str, Any]:
    fields: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    if "metadata" in fields:
        fields["metadata"] = fields["metadata"] or {}
    if "name" in fields:
        fields["name"] = fields["name"] or ""

    def change(store: VectorStore) -> VectorStore:
        return store.model_copy(update=fields).used(store.last_active_at or store.created_at)

    update = Update(VectorStore, vector_store_id, change, unknown_vector_store(vector_store_id))
    return (await parts.store.commit([update]))[update].at(parts.now()).wire()


@router.delete("/{vector_store_id}")
async def delete_vector_store(vector_store_id: str, parts: PartsDep) -> dict[str, Any]:
    """With all texts and vectors; the uploaded files stay."""
    await get_store(parts, vector_store_id)
    await parts.ingestion.remove_store(vector_store_id)
    return deleted(vector_store_id, "vector_store.deleted")


@router.post("/{vector_store_id}/reindex")
async def reindex_vector_store(vector_store_id: str, parts: PartsDep) -> dict[str, Any]:
    """An extension: its files are in progress again until both indexes are rebuilt from the texts that are kept."""
    await get_store(parts, vector_store_id)
    return (await parts.ingestion.reindex(vector_store_id)).at(parts.now()).wire()


@router.post("/{vector_store_id}/search")
async def search_vector_store(vector_store_id: str, body: SearchVectorStore, parts: PartsDep, response: Response) -> dict[str, Any]:
    """The passages that answer the queries, best first.

    `rewrite_query` changes nothing, and `search_query` says so: leaving out phrases like "according to the text" found no answer more, and a model that
    rewrote would take longer than the search.
    """
    check_not_expired(await get_store(parts, vector_store_id), parts.now())
    response.headers.update(ignored_header("searchVectorStore", body))
    queries = [body.query] if isinstance(body.query, str) else body.query
    options = body.ranking_options or SearchRankingOptions()
    ordered = await parts.search.find(
        [vector_store_id],
        queries,
        max_num_results=body.max_num_results,
        score_threshold=options.score_threshold,
        weights=options.weights(),
        file_ids=await _accepted(parts, vector_store_id, body.filters),
    )
    rows = await parts.store.get_many(VectorStoreFile, [vector_store_file_key(vector_store_id, r.file_id) for r in ordered])
    data = [
        {
            "file_id": r.file_id,
            "filename": r.file_name,
            "score": r.score,
            "attributes": row.attributes if (row := rows.get(vector_store_file_key(vector_store_id, r.file_id))) else {},
            "content": [{"type": "text", "text": r.text()}],
        }
        for r in ordered
    ]
    return {"object": "vector_store.search_results.page", "search_query": queries, "data": data, "has_more": False, "next_page": None}


async def _accepted(parts: Parts, vector_store_id: str, wanted: AttributeFilter | None) -> Collection[str] | None:
    """The files that a filter leaves; None without one."""
    if wanted is None:
        return None
    rows = parts.store.list_all(VectorStoreFile, parent={"vector_store_id": vector_store_id}, where={"status": "completed"})
    return {row.id async for row in rows if wanted.accepts(row.attributes)}


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/{vector_store_id}/files")
async def create_vector_store_file(vector_store_id: str, body: CreateVectorStoreFile, parts: PartsDep) -> dict[str, Any]:
    store = await get_store(parts, vector_store_id)
    plan = await parts.ingestion.plan_files(parts.store, store, [FileToAdd(body.file_id, body.chunking_strategy, body.attributes)])
    [row] = (await parts.ingestion.carry_out(parts.store, plan)).files
    return row.wire()


@router.get("/{vector_store_id}/files")
async def list_vector_store_files(
    vector_store_id: str,
    parts: PartsDep,
    limit: Limit = 20,
    order: Order = "desc",
    after: str | None = None,
    before: str | None = None,
    filter: FileStatus | None = None,  # noqa: A002 the API's name
) -> dict[str, Any]:
    await get_store(parts, vector_store_id)
    return await _files_page(parts, vector_store_id, {"vector_store_id": vector_store_id}, limit, order, after, before, filter)


async def _files_page(
    parts: Parts, store_id: str, parent: dict[str, str], limit: int, order: Order, after: str | None, before: str | None, status: FileStatus | None
) -> dict[str, Any]:
    page = await parts.store.list_page(
        VectorStoreFile,
        parent=parent,
        where={"status": status} if status else {},
        limit=limit,
        order=order,
        after=vector_store_file_key(store_id, after) if after else None,
        before=vector_store_file_key(store_id, before) if before else None,
    )
    return page_of(page.items, has_more=page.has_more)


@router.get("/{vector_store_id}/files/{file_id}")
async def retrieve_vector_store_file(vector_store_id: str, file_id: str, parts: PartsDep, response: Response) -> dict[str, Any]:
    response.headers.update(POLL_HEADERS)
    return (await get_store_file(parts, vector_store_id, file_id)).wire()


@router.post("/{vector_store_id}/files/{file_id}")
async def modify_vector_store_file(vector_store_id: str, file_id: str, body: ModifyVectorStoreFile, parts: PartsDep) -> dict[str, Any]:
    """Its attributes are replaced as a whole."""
    await get_store(parts, vector_store_id)
    update = Update(
        VectorStoreFile,
        vector_store_file_key(vector_store_id, file_id),
        lambda row: row.model_copy(update={"attributes": body.attributes or {}}),
        unknown_store_file(vector_store_id, file_id),
    )
    return (await parts.store.commit([update]))[update].wire()


@router.delete("/{vector_store_id}/files/{file_id}")
async def delete_vector_store_file(vector_store_id: str, file_id: str, parts: PartsDep) -> dict[str, Any]:
    """The uploaded file stays."""
    row = await get_store_file(parts, vector_store_id, file_id)
    await parts.ingestion.remove_file(row.key)
    return deleted(file_id, "vector_store.file.deleted")


@router.get("/{vector_store_id}/files/{file_id}/content")
async def retrieve_vector_store_file_content(vector_store_id: str, file_id: str, parts: PartsDep) -> dict[str, Any]:
    """The canonical text: every offset of a citation counts its characters."""
    row = await get_store_file(parts, vector_store_id, file_id)
    if row.text_digest is None:
        raise RequestError(f"File {file_id} has no text: its status is '{row.status}'.")
    document = await parts.search.text(row.text_digest)
    return {"object": "vector_store.file_content.page", "data": [{"type": "text", "text": document.text}], "has_more": False, "next_page": None}


# ── Batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/{vector_store_id}/file_batches")
async def create_file_batch(vector_store_id: str, body: CreateFileBatch, parts: PartsDep) -> dict[str, Any]:
    store = await get_store(parts, vector_store_id)
    plan = await parts.ingestion.plan_files(parts.store, store, _batch_files(body), as_batch=True)
    batch = (await parts.ingestion.carry_out(parts.store, plan)).batch
    return batch.wire() if batch else {}


def _batch_files(body: CreateFileBatch) -> Sequence[FileToAdd]:
    """What a file of `files` does not say for itself is taken from the batch. There may be both kinds, and none."""
    listed = [*(CreateVectorStoreFile(file_id=file_id) for file_id in body.file_ids), *body.files]
    return [FileToAdd(each.file_id, each.chunking_strategy or body.chunking_strategy, each.attributes or body.attributes) for each in listed]


@router.get("/{vector_store_id}/file_batches/{batch_id}")
async def retrieve_file_batch(vector_store_id: str, batch_id: str, parts: PartsDep, response: Response) -> dict[str, Any]:
    response.headers.update(POLL_HEADERS)
    return (await get_batch(parts, vector_store_id, batch_id)).wire()


@router.post("/{vector_store_id}/file_batches/{batch_id}/cancel")
async def cancel_file_batch(vector_store_id: str, batch_id: str, parts: PartsDep) -> dict[str, Any]:
    """What is done stays; a batch that is done stays as it is."""
    batch = await get_batch(parts, vector_store_id, batch_id)
    return (await parts.ingestion.cancel_batch(batch.id)).wire()


@router.get("/{vector_store_id}/file_batches/{batch_id}/files")
async def list_batch_files(
    vector_store_id: str,
    batch_id: str,
    parts: PartsDep,
    limit: Limit = 20,
    order: Order = "desc",
    after: str | None = None,
    before: str | None = None,
    filter: FileStatus | None = None,  # noqa: A002 the API's name
) -> dict[str, Any]:
    await get_batch(parts, vector_store_id, batch_id)
    return await _files_page(parts, vector_store_id, {"batch_id": batch_id}, limit, order, after, before, filter)
