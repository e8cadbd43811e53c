"""Which passage supports a sentence, and with which of its words. Pure; no model is asked.

A sentence is compared with every sentence of the passages, and with every two that follow each other, by the words that both have. A word counts as much as it
is rare among them, a number or a name more. What is asked is how much of the answer's sentence the passage covers, not the other way round. Rather no
citation than a wrong one: a number that the passage does not have, or a "not" on one side only, weighs heavily.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from offline_assistants.domain.sentences import split_sentences
from offline_assistants.file_search.passages import Passage
from offline_assistants.file_search.words import Kind, negated_stems, words

THRESHOLD = 0.7
"""Precision first: at this value none of 69 untrue sentences was cited that used the words of their passages, and 59 of 65 paraphrases were."""

MAX_QUOTE_CHARS = 300

_KIND_WEIGHT: Mapping[Kind, float] = {"word": 1.0, "name": 1.5, "number": 2.0}
_NEARBY_SHARE = 0.4
"""What a word counts that is not in the sentence compared with but elsewhere in its passage: "he" here is a name there."""
_NEGATION_FACTOR = 0.6
_MISSING_NUMBER_FACTOR = 0.6
_PAIR_COST = 0.04
"""A single sentence that supports is a better quote than two."""
_FEWEST_SHARED_WORDS = 3
_FEWEST_SHARED_NAMES = 2
"""So many words must be shared when a name or a number is among them."""

_CUTS = (re.compile(r"\n"), re.compile(r"[.;:!?]\s"), re.compile(r",\s"), re.compile(r"\s"))
"""Where a sentence too long to quote is cut, the best places first."""


@dataclass(frozen=True, slots=True)
class Support:
    """`passage.text[start:end]` supports a sentence as far as `score` says, 0 to 1."""

    passage: Passage
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class _Window:
    """One sentence of a passage, or two."""

    passage_index: int
    start: int
    end: int
    stems: frozenset[str]
    negated: frozenset[str]
    num_sentences: int


class Evidence:
    """The passages of a run, made ready for comparing sentences with them."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = list(passages)
        self._windows = [window for index, passage in enumerate(passages) for window in _windows(index, passage.text)]
        self._windows_with: defaultdict[str, list[int]] = defaultdict(list)
        self._passages_with: defaultdict[str, set[int]] = defaultdict(set)
        for index, window in enumerate(self._windows):
            for stem in window.stems:
                self._windows_with[stem].append(index)
                self._passages_with[stem].add(window.passage_index)

    def best(self, sentence: str) -> Support | None:
        """The best support of a sentence, if there is enough of it."""
        kinds: dict[str, Kind] = {word.stem: word.kind for word in words(sentence)}
        claim = _Claim(kinds, {stem: self._rarity(stem) * _KIND_WEIGHT[kind] for stem, kind in kinds.items()}, negated_stems(sentence))
        candidates = {index for stem in kinds for index in self._windows_with.get(stem, ())}
        scored = [(self._score(claim, self._windows[index]), -index) for index in candidates]
        score, index = max(scored, default=(0.0, 0))
        if score < THRESHOLD:
            return None
        window = self._windows[-index]
        return Support(self._passages[window.passage_index], window.start, window.end, score)

    def _rarity(self, stem: str) -> float:
        return math.log(1 + len(self._windows) / (len(self._windows_with.get(stem, ())) + 0.5))

    def _score(self, claim: _Claim, window: _Window) -> float:
        shared = claim.kinds.keys() & window.stems
        has_name = any(claim.kinds[stem] != "word" for stem in shared)
        if len(shared) < (_FEWEST_SHARED_NAMES if has_name else _FEWEST_SHARED_WORDS):
            return 0.0
        covered = 0.0
        factor = _NEGATION_FACTOR if (claim.negated ^ window.negated) & shared else 1.0
        for stem, weight in claim.weights.items():
            if stem in shared:
                covered += weight
            elif claim.kinds[stem] == "number":
                factor *= _MISSING_NUMBER_FACTOR
            elif window.passage_index in self._passages_with.get(stem, ()):
                covered += _NEARBY_SHARE * weight
        return factor * covered / sum(claim.weights.values()) - _PAIR_COST * (window.num_sentences - 1)


@dataclass(frozen=True, slots=True)
class _Claim:
    """A sentence of an answer."""

    kinds: Mapping[str, Kind]
    weights: Mapping[str, float]
    negated: frozenset[str]


def _windows(passage_index: int, text: str) -> Iterator[_Window]:
    singles = [
        _Window(passage_index, start, end, frozenset(word.stem for word in words(text[start:end])), negated_stems(text[start:end]), 1)
        for span in split_sentences(text)
        for start, end in _quotable(text, *span)
    ]
    yield from singles
    for one, other in pairwise(singles):
        if other.end - one.start <= MAX_QUOTE_CHARS:
            yield _Window(passage_index, one.start, other.end, one.stems | other.stems, one.negated | other.negated, 2)


def _quotable(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A sentence, or the pieces that it has to be cut into because it is too long to quote."""
    while end - start > MAX_QUOTE_CHARS:
        cut = _last_cut(text, start + MAX_QUOTE_CHARS // 3, start + MAX_QUOTE_CHARS)
        yield start, cut
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if start < end:
        yield start, end


def _last_cut(text: str, low: int, high: int) -> int:
    """The best place to cut between two offsets: the last of the best kind."""
    for pattern in _CUTS:
        found = list(pattern.finditer(text, low, high))
        if found:
            return found[-1].end() - 1
    return high
