"""One question to vector stores: embed it, find chunks, read their text. Knows nothing of runs or HTTP."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Sequence

from offline_assistants.domain.ids import Clock
from offline_assistants.domain.objects import FileSearchResult, SearchResultContent, SourceSection, VectorStore, VectorStoreFile, vector_store_file_key
from offline_assistants.errors import NotFound
from offline_assistants.file_search import canonical_text
from offline_assistants.file_search.ranking import RankedChunk, Weights
from offline_assistants.file_search.search_index import Question, SearchIndex
from offline_assistants.ports import Documents, ParsedDocument
from offline_assistants.store.blobs import BlobStore
from offline_assistants.store.changes import Update
from offline_assistants.store.duckdb_store import DuckDBStore

MAX_CHARS_KEPT = 32_000_000
"""Of canonical texts that stay in memory between searches: results of a large store come from many files."""
TOUCHED_EVERY_S = 10
"""So exact `last_active_at` is of a vector store that is searched again and again."""
LOADED_AT_ONCE_BYTES = 1 << 18
"""A larger text is unpacked on a thread: for a book that takes a tenth of a second."""


class FileSearch:
    """Searches several vector stores as one."""

    def __init__(self, *, store: DuckDBStore, blobs: BlobStore, documents: Documents, index: SearchIndex, now: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._documents = documents
        self._index = index
        self._now = now
        self._texts: OrderedDict[str, ParsedDocument] = OrderedDict()
        self._num_chars = 0

    async def find(
        self,
        vector_store_ids: Sequence[str],
        queries: Sequence[str],
        *,
        max_num_results: int,
        score_threshold: float = 0.0,
        weights: Weights | None = None,
        file_ids: Collection[str] | None = None,
    ) -> list[FileSearchResult]:
        """The best chunks for any of the queries, best first, with their text, in one list for all the stores.

        `file_ids`: only chunks of these files. Stores that are gone are passed over. Raises SearchError, EmbeddingModelChanged.
        """
        stores = await self._store.get_many(VectorStore, vector_store_ids)
        asked = [query for query in dict.fromkeys(queries) if query.strip()]
        if not stores or not asked:
            return []
        vectors = await self._documents.embed(asked, purpose="query")
        chunks = await self._index.find(
            list(stores),
            [Question(text, vector) for text, vector in zip(asked, vectors, strict=True)],
            model=await self._documents.model_name(),
            max_num_results=max_num_results,
            score_threshold=score_threshold,
            weights=weights,
            file_ids=file_ids,
        )
        keys = [vector_store_file_key(chunk.place.vector_store_id, chunk.place.file_id) for chunk in chunks]
        rows = await self._store.get_many(VectorStoreFile, keys)
        results = [self._result(chunk, rows.get(key)) for chunk, key in zip(chunks, keys, strict=True)]
        _, *found = await asyncio.gather(self._touch(list(stores.values())), *results)
        return [result for result in found if result is not None]

    async def _result(self, chunk: RankedChunk, row: VectorStoreFile | None) -> FileSearchResult | None:
        """None for a file that was taken out, or is not whole, since it was indexed."""
        if row is None or row.text_digest is None:
            return None
        document = await self.text(row.text_digest)
        start, end = chunk.place.start, chunk.place.end
        return FileSearchResult(
            file_id=row.id,
            file_name=row.filename,
            score=chunk.score,
            content=[SearchResultContent(text=document.text[start:end])],
            sections=[
                SourceSection(start=section.start, end=section.end, page=section.page, heading=section.heading)
                for section in document.sections
                if section.start < end and section.end > start
            ],
            start_index=start,
            best_index=chunk.best_window[0],
        )

    async def text(self, digest: str) -> ParsedDocument:
        """A file's canonical text, from memory if it was read lately."""
        if (document := self._texts.get(digest)) is not None:
            self._texts.move_to_end(digest)
            return document
        content = await self._blobs.read(digest)
        document = canonical_text.load(content) if len(content) <= LOADED_AT_ONCE_BYTES else await asyncio.to_thread(canonical_text.load, content)
        if digest not in self._texts:
            self._texts[digest] = document
            self._num_chars += len(document.text)
        while self._num_chars > MAX_CHARS_KEPT:
            self._num_chars -= len(self._texts.popitem(last=False)[1].text)
        return document

    async def _touch(self, stores: Sequence[VectorStore]) -> None:
        """A store that was used is active: its expiry, which is days away, moves on. Once in a while, for each time is a write to the disk."""
        now = self._now()
        idle = [store.id for store in stores if now - (store.last_active_at or 0) >= TOUCHED_EVERY_S]
        if not idle:
            return
        try:
            await self._store.commit([Update(VectorStore, store_id, lambda store: store.used(now)) for store_id in idle])
        except NotFound:
            return  # deleted while it was searched
