"""The vectors of a vector store in memory, compared with a question one and all: exact, and faster than an index up to some hundred thousand. Pure.

A StoreVectors never changes; adding and taking out a file gives another one that shares what stays. So it can be read on any thread.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Self

import numpy as np
from numpy.typing import NDArray

from offline_assistants.errors import SearchError
from offline_assistants.file_search.ranking import Place, WindowHit

Span = tuple[int, int]
Vectors = NDArray[np.float32]
Integers = NDArray[np.uint32]

BYTES_BESIDE_VECTOR = 40
"""What a window takes beside its vector when it lies in two chunks, as most do."""


@dataclass(frozen=True, slots=True)
class ChunkSpan:
    """A chunk of a file; offsets count characters."""

    index: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FileVectors:
    """The windows of a file in order of `spans`, a row of `vectors` for each. Numbers, not objects: there may be a hundred thousand."""

    vectors: Vectors
    spans: NDArray[np.uint64]
    """Where each window starts and ends, as one ascending number (see _span_number)."""
    chunks: Integers
    """The chunks that windows lie in: a row of index, start and end for each, those of the first window first."""
    first_chunks: Integers
    """The row of `chunks` that each window's begin with; one more at the end."""

    @classmethod
    def of(cls, windows: Iterable[tuple[Span, Sequence[ChunkSpan]]], vectors: Vectors) -> Self:
        """Windows with the chunks that they lie in, and a row of `vectors` for each."""
        windows = list(windows)
        order = sorted(range(len(windows)), key=lambda row: windows[row][0])
        chunks = [(chunk.index, chunk.start, chunk.end) for row in order for chunk in windows[row][1]]
        return cls(
            vectors[order],
            np.array([_span_number(windows[row][0]) for row in order], dtype=np.uint64),
            np.array(chunks, dtype=np.uint32).reshape(-1, 3),
            np.array([0, *accumulate(len(windows[row][1]) for row in order)], dtype=np.uint32),
        )

    @property
    def num_windows(self) -> int:
        return len(self.spans)

    def rows(self, spans: Sequence[Span]) -> dict[Span, int]:
        """Where the vectors of windows are; those that are not there are left out."""
        wanted = np.array([_span_number(span) for span in spans], dtype=np.uint64)
        found: list[int] = np.searchsorted(self.spans, wanted).tolist()
        return {span: row for span, row in zip(spans, found, strict=True) if row < len(self.spans) and int(self.spans[row]) == _span_number(span)}

    def hits(self, vector_store_id: str, file_id: str, row: int, similarity: float) -> list[WindowHit]:
        """A window as a hit for every chunk that it lies in."""
        chunks: list[list[int]] = self.chunks[self.first_chunks[row] : self.first_chunks[row + 1]].tolist()
        span = _span_of(int(self.spans[row]))
        return [WindowHit(Place(vector_store_id, file_id, index, start, end), span, similarity) for index, start, end in chunks]


def _span_number(span: Span) -> int:
    return span[0] << 32 | span[1]


def _span_of(number: int) -> Span:
    return number >> 32, number & 0xFFFFFFFF


class StoreVectors:
    """The files of a vector store."""

    def __init__(self, files: Mapping[str, FileVectors]) -> None:
        self._files = dict(files)
        self._ids = list(self._files)
        self._starts = [0, *accumulate(file.num_windows for file in self._files.values())]
        self._stacked: Vectors | None = None

    @property
    def num_windows(self) -> int:
        return self._starts[-1]

    @property
    def num_bytes(self) -> int:
        return sum(file.vectors.nbytes + BYTES_BESIDE_VECTOR * file.num_windows for file in self._files.values())

    def with_file(self, file_id: str, file: FileVectors) -> StoreVectors:
        """The same with a file in place of what was there of it."""
        return StoreVectors({**self._files, file_id: file} if file.num_windows else {other: kept for other, kept in self._files.items() if other != file_id})

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

    def similarities(self, vector: Vectors, file_id: str, spans: Sequence[Span]) -> dict[Span, float]:
        """The similarity of some windows of a file; those that are not there are left out."""
        file = self._files.get(file_id)
        if file is None:
            return {}
        known = file.rows(spans)
        near: list[float] = products(file.vectors[list(known.values())], vector).tolist()
        return dict(zip(known, near, strict=True))

    def _stack(self) -> Vectors:
        """All vectors in one piece. The files become views of it, so that they are in memory once."""
        if self._stacked is None:
            stacked = np.concatenate([file.vectors for file in self._files.values()])
            for index, (file_id, file) in enumerate(list(self._files.items())):
                self._files[file_id] = replace(file, vectors=stacked[self._starts[index] : self._starts[index + 1]])
            self._stacked = stacked
        return self._stacked

    def _hits(self, vector_store_id: str, row: int, similarity: float) -> list[WindowHit]:
        index = bisect_right(self._starts, row) - 1
        file_id = self._ids[index]
        return self._files[file_id].hits(vector_store_id, file_id, row - self._starts[index], similarity)


def products(vectors: Vectors, vector: Vectors) -> Vectors:
    """The product of each row with `vector`. Raises SearchError when they are not of one length.

    Not by `@`, whose threads wait for each other in a loop: on a busy machine that doubles what a search costs.
    """
    if vectors.shape[1:] != vector.shape:
        raise SearchError(f"The question's vector has {len(vector)} dimensions, but those of the vector store have {vectors.shape[-1]}.")
    return np.vecdot(vectors, vector)
