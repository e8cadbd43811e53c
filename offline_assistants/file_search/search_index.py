"""What can be found, and how: vectors of windows and words of chunks, in two indexes that are written and asked together.

The keyword index is written first and emptied last, so whatever either holds, the keyword index knows of it, also after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from offline_assistants.file_search.chroma_index import ChromaIndex, IndexedWindow
from offline_assistants.file_search.keyword_index import IndexedChunk, KeywordIndex
from offline_assistants.file_search.ranking import Candidate, Place, RankedChunk, Weights, WindowHit, num_keyword_chunks, num_windows, rank
from offline_assistants.file_search.terms import query_terms

Span = tuple[int, int]
Nearest = Mapping[Place, tuple[float, Span]]
"""For each chunk how near its nearest window is, and which."""


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    vector: Sequence[float]


class SearchIndex:
    """Both indexes in `path`, which belongs to one process at a time. Use as an async context manager, in one event loop."""

    def __init__(self, path: Path, *, max_exact_windows: int = 150_000) -> None:
        self.vectors = ChromaIndex(path, max_exact_windows=max_exact_windows)
        self.keywords = KeywordIndex(path / "keywords")

    async def __aenter__(self) -> Self:
        self.keywords.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            await self.keywords.close()
        finally:
            await self.vectors.close()

    async def add(self, vector_store_id: str, file_id: str, *, windows: Sequence[IndexedWindow], chunks: Iterable[IndexedChunk], model: str) -> None:
        """Put a file into a vector store, in place of what was there of it. `model` names what made the vectors.

        Raises SearchError, EmbeddingModelChanged, StoreFull; then, and when this is cancelled, `delete_file` removes what is left of the file.
        """
        await self.keywords.add(vector_store_id, file_id, chunks)
        await self.vectors.add(vector_store_id, file_id, windows, model=model)

    async def delete_file(self, vector_store_id: str, file_id: str) -> None:
        """Take a file out of a vector store, if it is there. Raises SearchError."""
        await self.vectors.delete_file(vector_store_id, file_id)
        await self.keywords.delete_file(vector_store_id, file_id)

    async def delete_store(self, vector_store_id: str) -> None:
        """Forget a vector store, if it is there. Raises SearchError."""
        await self.vectors.delete_store(vector_store_id)
        await self.keywords.delete_store(vector_store_id)

    async def stores(self) -> list[str]:
        """The vector stores that something may be held of."""
        return await self.keywords.stores()

    async def files_of(self, vector_store_id: str) -> set[str]:
        """The files of a vector store that something may be held of. Raises SearchError."""
        return await self.keywords.files_of(vector_store_id)

    async def find(
        self,
        vector_store_ids: Sequence[str],
        questions: Sequence[Question],
        *,
        model: str,
        max_num_results: int,
        score_threshold: float = 0.0,
        weights: Weights | None = None,
        file_ids: Collection[str] | None = None,
    ) -> list[RankedChunk]:
        """The best chunks of all the stores together, best first. `file_ids`: only chunks of these. Raises SearchError, EmbeddingModelChanged."""
        candidates = [candidate for question in questions for candidate in await self._candidates(vector_store_ids, question, model, max_num_results, file_ids)]
        return rank(candidates, max_num_results=max_num_results, score_threshold=score_threshold, weights=weights)

    async def _candidates(
        self, vector_store_ids: Sequence[str], question: Question, model: str, max_num_results: int, file_ids: Collection[str] | None
    ) -> list[Candidate]:
        """What is near in meaning, and what shares words; then each is asked for what it is in the other way."""
        hits, matches = await asyncio.gather(
            self.vectors.query(vector_store_ids, question.vector, num_windows(max_num_results), file_ids=file_ids, model=model),
            self.keywords.match(vector_store_ids, query_terms(question.text), num_keyword_chunks(max_num_results), file_ids=file_ids),
        )
        nearest = _nearest(hits)
        unseen = {hit.place: hit.windows for hit in matches.best if hit.place not in nearest}
        similarities, shares = await asyncio.gather(self.vectors.similarities(question.vector, unseen), self.keywords.shares(matches, nearest))
        shares |= {hit.place: hit.share for hit in matches.best}
        return [Candidate(place, similarity, shares[place], window) for place, (similarity, window) in {**nearest, **similarities}.items()]


def _nearest(hits: Iterable[WindowHit]) -> Nearest:
    nearest: dict[Place, tuple[float, Span]] = {}
    for hit in hits:
        if hit.place not in nearest or hit.similarity > nearest[hit.place][0]:
            nearest[hit.place] = (hit.similarity, hit.window)
    return nearest
