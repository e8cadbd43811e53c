"""The vectors of a vector store in memory, compared with a question one and all: exact, and faster than an index up to some hundred thousand. Pure.

A StoreVectors never changes; adding and taking out a file gives another one that shares what stays. So it can be read on any thread.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from offline_assistants.errors import SearchError
from offline_assistants.file_search.ranking import Place, WindowHit

Span = tuple[int, int]
Vectors = NDArray[np.float32]

BYTES_BESIDE_VECTOR = 400
"""What a window takes beside its vector, about."""


@dataclass(frozen=True)
class FileVectors:
    """The windows of a file, a row of `vectors` for each."""

    vectors: Vectors
    spans: Sequence[Span]
    chunks: Sequence[str]
    """The chunks that each window lies in, as "index:start:end", separated by blanks."""

    @cached_property
    def rows(self) -> Mapping[Span, int]:
        """Where each window's vector is."""
        return {span: row for row, span in enumerate(self.spans)}


class StoreVectors:
    """The files of a vector store."""

    def __init__(self, files: Mapping[str, FileVectors]) -> None:
        self._files = dict(files)
        self._ids = list(self._files)
        self._starts = [0, *accumulate(len(file.spans) for file in self._files.values())]
        self._stacked: Vectors | None = None

    @property
    def num_windows(self) -> int:
        return self._starts[-1]

    @property
    def num_bytes(self) -> int:
        return sum(file.vectors.nbytes + BYTES_BESIDE_VECTOR * len(file.spans) for file in self._files.values())

    def with_file(self, file_id: str, file: FileVectors) -> StoreVectors:
        """The same with a file in place of what was there of it."""
        return StoreVectors({**self._files, file_id: file} if file.spans else {other: kept for other, kept in self._files.items() if other != file_id})

    def without_file(self, file_id: str) -> StoreVectors:
        if file_id not in self._files:
            return self
        return StoreVectors({other: kept for other, kept in self._files.items() if other != file_id})

    def nearest(self, vector_store_id: str, vector: Vectors, limit: int, *, file_ids: Collection[str] | None = None) -> list[list[WindowHit]]:
        """The `limit` nearest windows, nearest first, each as a hit for every chunk that it lies in. `file_ids`: only windows of these."""
        if not self.num_windows:
            return []
        similarities = products(self._stack(), vector)
        if file_ids is not None:
            for index, file_id in enumerate(self._ids):
                if file_id not in file_ids:
                    similarities[self._starts[index] : self._starts[index + 1]] = -np.inf
        count = min(limit, len(similarities))
        best = np.argpartition(-similarities, count - 1)[:count]
        best = best[np.lexsort((best, -similarities[best]))]
        return [self._hits(vector_store_id, int(row), float(similarities[row])) for row in best if similarities[row] > -np.inf]

    def similarities(self, vector: Vectors, file_id: str, spans: Collection[Span]) -> dict[Span, float]:
        """The similarity of some windows of a file; those that are not there are left out."""
        file = self._files.get(file_id)
        if file is None:
            return {}
        known = [span for span in spans if span in file.rows]
        near: list[float] = products(file.vectors[[file.rows[span] for span in known]], vector).tolist()
        return dict(zip(known, near, strict=True))

    def _stack(self) -> Vectors:
        """All vectors in one piece. The files become views of it, so that they are in memory once."""
        if self._stacked is None:
            stacked = np.concatenate([file.vectors for file in self._files.values()])
            for index, (file_id, file) in enumerate(list(self._files.items())):
                self._files[file_id] = FileVectors(stacked[self._starts[index] : self._starts[index + 1]], file.spans, file.chunks)
            self._stacked = stacked
        return self._stacked

    def _hits(self, vector_store_id: str, row: int, similarity: float) -> list[WindowHit]:
        index = bisect_right(self._starts, row) - 1
        file_id = self._ids[index]
        file = self._files[file_id]
        return hits_of(vector_store_id, file_id, file.spans[row - self._starts[index]], file.chunks[row - self._starts[index]], similarity)


def products(vectors: Vectors, vector: Vectors) -> Vectors:
    """The product of each row with `vector`. Raises SearchError when they are not of one length.

    Not by `@`, whose threads wait for each other in a loop: on a busy machine that doubles what a search costs.
    """
    if vectors.shape[1:] != vector.shape:
        raise SearchError(f"The question's vector has {len(vector)} dimensions, but those of the vector store have {vectors.shape[-1]}.")
    return np.einsum("ij,j->i", vectors, vector)


def hits_of(vector_store_id: str, file_id: str, span: Span, chunks: str, similarity: float) -> list[WindowHit]:
    """A window as a hit for every chunk that it lies in."""
    hits: list[WindowHit] = []
    for chunk in chunks.split():
        index, start, end = (int(number) for number in chunk.split(":"))
        hits.append(WindowHit(Place(vector_store_id, file_id, index, start, end), span, similarity))
    return hits
