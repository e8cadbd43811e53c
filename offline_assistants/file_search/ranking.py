"""How a score comes about. Pure: indexes say how near windows are and which chunks hold which words, here that becomes an order.

    similarity     of a chunk: the cosine of the question and the nearest of the chunk's windows; below 0 counts as 0
    keyword share  of a chunk: how much of what the question's words weigh the chunk covers, 0 to 1

                       Σ weight(word) · cover(word, chunk)
                       ───────────────────────────────────
                       Σ weight(word)

        weight     rarity of the word in the stores searched: log(1 + (N - n + ½) / (n + ½)), when n of N chunks have it
        cover      how clearly the chunk speaks of it, BM25's saturation: f / (f + k₁ · (1 - b + b · length)), for f times in a chunk that is
                   `length` times as long as the average of its store; k₁ = 1.2 and b = 0.75, as SQLite's FTS5 has them

    score          ½ · similarity + ½ · keyword share, or by the weights that a client gives

Neither part depends on what else was found, so a score means the same from question to question and a threshold can be set on it: above about 0.5 a passage
is near in meaning and in words, one that is near in meaning alone has at most 0.5, and one that shares nothing has 0. The weights are equal because nothing
was known that speaks for others; between 0.3 and 0.7 the answer is found about as often.

Of several questions asked at once, a chunk has its best score. Chunks overlap, so without a rule the second best result is mostly the first one over again:
a chunk that shares more than 40 % with a better one is left out. The same passage in two stores is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

MAX_SHARED = 0.4
_FEWEST_CANDIDATES = 10
"""Candidates are looked for as if for so many results at least: the best result of one is rarely that of both."""
_WINDOWS_PER_RESULT = 12
"""A chunk of 800 tokens has about nine windows, and some of the nearest chunks are left out for their overlap."""
_CHUNKS_PER_RESULT = 4


@dataclass(frozen=True, slots=True)
class Place:
    """A chunk. Offsets count characters of the file's canonical text."""

    vector_store_id: str
    file_id: str
    chunk_index: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class WindowHit:
    """A window that an index found, with a chunk that it lies in."""

    place: Place
    window: tuple[int, int]
    similarity: float
    """Cosine, -1 to 1."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What similarity and keyword share count, in relation to each other; not both 0."""

    embedding: float = 0.5
    text: float = 0.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk with what is known of it and one question."""

    place: Place
    similarity: float
    keyword_share: float
    best_window: tuple[int, int]


@dataclass(frozen=True, slots=True)
class RankedChunk:
    place: Place
    score: float
    """0 to 1."""
    best_window: tuple[int, int]
    """The part of the chunk that is nearest to the question: what to show first, and what to keep where room is short."""


def num_windows(max_num_results: int) -> int:
    """How many of the nearest windows are candidates."""
    return max(max_num_results, _FEWEST_CANDIDATES) * _WINDOWS_PER_RESULT


def num_keyword_chunks(max_num_results: int) -> int:
    """How many of the chunks with the largest keyword share are candidates."""
    return max(max_num_results, _FEWEST_CANDIDATES) * _CHUNKS_PER_RESULT


def term_weight(num_chunks: int, num_with_term: int) -> float:
    """What a word of the question counts: the more, the fewer chunks have it. Never negative, not even for a word that all have."""
    return math.log(1 + (num_chunks - num_with_term + 0.5) / (num_with_term + 0.5))


def score(candidate: Candidate, weights: Weights) -> float:
    """0 to 1."""
    similarity = min(max(candidate.similarity, 0.0), 1.0)
    total = weights.embedding + weights.text
    return (weights.embedding * similarity + weights.text * min(candidate.keyword_share, 1.0)) / total


def rank(candidates: Iterable[Candidate], *, max_num_results: int, score_threshold: float = 0.0, weights: Weights | None = None) -> list[RankedChunk]:
    """The best chunks, best first, none of them mostly a repetition of a better one, none below the threshold."""
    scored = [RankedChunk(each.place, score(each, weights or Weights()), each.best_window) for each in candidates]
    scored.sort(key=lambda chunk: (-chunk.score, chunk.place.file_id, chunk.place.start))
    chosen: list[RankedChunk] = []
    for chunk in scored:
        if len(chosen) == max_num_results or chunk.score < score_threshold:
            break
        if not any(_shared(chunk.place, better.place) > MAX_SHARED for better in chosen):
            chosen.append(chunk)
    return chosen


def _shared(one: Place, other: Place) -> float:
    """How much of the shorter one lies in the other."""
    if one.file_id != other.file_id:
        return 0.0
    overlap = min(one.end, other.end) - max(one.start, other.start)
    return max(overlap, 0) / max(min(one.end - one.start, other.end - other.start), 1)
