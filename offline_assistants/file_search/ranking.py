"""How a score comes about, from beginning to end. Pure: indexes say which windows are near and which chunks hold which words, here that becomes an order.

A question is compared with chunks in two ways, and each way gives a number from 0 to 1.

    similarity     how near the chunk is in meaning: the cosine of the question's vector and that of the chunk's nearest window; below 0 counts as 0. A window
                   is some sentences of the chunk (see chunking.py)
    keyword share  how much of what the question's words weigh the chunk covers. Words are those of terms.py: without endings, without "the" and "of", numbers
                   in one form, names in code whole and in parts

                       Σ weight(word) · cover(word, chunk)
                       ───────────────────────────────────      over the different words of the question
                       Σ weight(word)

        weight     the rarer, the more: ln(1 + (N - n + ½) / (n + ½)), when n of the N chunks in the stores searched have the word. One
                   that no chunk has weighs most, and is never covered
        cover      how clearly the chunk speaks of it: f / (f + k₁ · (1 - b + b · length)), when the chunk has it f times and is `length` times as long as the
                   average of its store; 0 without the word, about ½ with one, nearer to 1 with each more. It is BM25's, with k₁ = 1.2 and b = 0.75

    score          ½ · similarity + ½ · keyword share; with weights from a client (e · similarity + t · keyword share) / (e + t)

An example. Of 1,000 chunks 9 have "lease" and 99 have "notice", so the two weigh 4.7 and 2.3. A chunk of average length has "lease" once and no "notice": it
covers 1 / (1 + 1.2) = 0.45 of the one and nothing of the other, and its keyword share of "lease notice" is 4.7 · 0.45 / (4.7 + 2.3) = 0.30. If its nearest
window has a cosine of 0.6, its score is ½ · 0.6 + ½ · 0.30 = 0.45.

No part depends on what else was found, so a threshold can be set on a score. With equal weights neither way alone gives more than 0.5; a share of 1 is never
reached (each word once is 0.45, three times 0.71); and many models give unrelated texts a cosine a little above 0. The weights are equal because nothing was
known that speaks for others; with an embedding weight from 0.3 to 0.7 the answer is found about as often.

What is scored: not all chunks, but those that one of the ways finds, which are the chunks of the nearest windows (`num_windows`) and the chunks with the
largest keyword share (`num_keyword_chunks`). Each is then looked up in the other way too, so no score lacks a half. Of several questions a chunk has its best
score.

What is left out: chunks below the threshold, and chunks of which, or of a better one if that is shorter, more than 40 % lies in both. Chunks overlap, so
without this rule the second best result is mostly the first one over again; it also keeps the best of a chunk's scores, and one passage of a file that is in
two stores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAX_SHARED = 0.4
_K1 = 1.2
_B = 0.75
_FEWEST_CANDIDATES = 10
"""Candidates are looked for as if for so many results at least: what is best by both ways is seldom first by either."""
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
    """A window that an index found, with one of the chunks that it lies in."""

    place: Place
    window: tuple[int, int]
    """Start and end in the file's canonical text."""
    similarity: float
    """Cosine, -1 to 1."""


@dataclass(frozen=True, slots=True)
class Postings:
    """The chunks of a store that have a word, by their numbers there, and how clearly each speaks of it."""

    numbers: NDArray[np.uint32]
    covers: Floats


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


def cover(num_times: Floats, relative_lengths: Floats) -> Floats:
    """How clearly chunks speak of a word that they have so often, 0 to 1: the oftener and the shorter, the clearer. A number for each chunk."""
    return num_times / (num_times + _K1 * (1 - _B + _B * relative_lengths))


def keyword_shares(words: Sequence[Postings], weights: Sequence[float], num_numbers: int) -> Floats:
    """The keyword share of every chunk of a store, by its number, which is below `num_numbers`. `words` are the question's, each with its weight."""
    shares = np.zeros(num_numbers)
    for word, weight in zip(words, weights, strict=True):
        shares[word.numbers] += weight * word.covers
    return shares / (sum(weights) or 1.0)


def score(candidate: Candidate, weights: Weights) -> float:
    """0 to 1: the weighted mean of the two. What is no number (a model gave it) counts as 0."""
    similarity = min(max(0.0, candidate.similarity), 1.0)
    total = weights.embedding + weights.text
    return (weights.embedding * similarity + weights.text * min(candidate.keyword_share, 1.0)) / total


def rank(candidates: Iterable[Candidate], *, max_num_results: int, score_threshold: float = 0.0, weights: Weights | None = None) -> list[RankedChunk]:
    """The best chunks, best first, none of them mostly a repetition of a better one, none below the threshold."""
    scored = [RankedChunk(each.place, score(each, weights or Weights()), each.best_window) for each in candidates]
    scored.sort(key=lambda chunk: (-chunk.score, chunk.place.file_id, chunk.place.start, chunk.place.vector_store_id))
    chosen: list[RankedChunk] = []
    for chunk in scored:
        if len(chosen) >= max_num_results or chunk.score < score_threshold:
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
