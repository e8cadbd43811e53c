"""What evaluation alone may know, and how much of it a text gives away: names by their words, sentences by their stretches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from scripts.starter import passages, pools, tables, values
from scripts.starter.functions import domains
from scripts.starter.pools import Pool, Side

_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_ORDINARY = frozenset(
    [
        "analyse",
        "board",
        "built",
        "card",
        "compare",
        "copper",
        "deep",
        "doors",
        "easy",
        "expert",
        "face",
        "filter",
        "fine",
        "frames",
        "glass",
        "half",
        "hold",
        "hour",
        "launch",
        "letters",
        "level",
        "local",
        "logged",
        "mean",
        "measures",
        "meat",
        "needs",
        "object",
        "once",
        "output",
        "period",
        "point",
        "points",
        "quick",
        "range",
        "road",
        "salt",
        "scan",
        "show",
        "some",
        "sound",
        "spot",
        "stage",
        "sunny",
        "threads",
        "total",
    ]
)
"""Held-out names that are also words of every day, of JSON or of Python."""
MIN_STRETCH = 14
"""Characters from which on a stretch of a sentence tells whose it is."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    words: frozenset[str]
    """Of names of functions, parameters, options, files, columns and places; lower case."""
    stretches: tuple[str, ...]
    """Of questions, descriptions and passages."""

    def in_text(self, text: str) -> set[str]:
        """What of it stands in a text, also as a part of names."""
        return {part.lower() for part in _PARTS.findall(text)} & self.words | {stretch for stretch in self.stretches if stretch in text}


def held_out() -> HeldOut:
    """All that is on that side of the split and not on the other."""
    words = set(_words("held_out")) - set(_words("train")) - _ORDINARY
    stretches = set(_stretches("held_out")) - set(_stretches("train"))
    return HeldOut(frozenset(word for word in words if len(word) > 3), tuple(sorted(stretches)))


def _words(side: Side) -> Iterator[str]:
    for text in _names(side):
        yield from (part.lower() for part in _PARTS.findall(text))


def _names(side: Side) -> Iterator[str]:
    for domain in domains(side):
        yield from (*domain.nouns, *domain.verbs, *(slot.name for slot in domain.slots))
    yield from tables.topics(side)
    for fact in passages.facts(side):
        yield fact.key
    for words in _pools():
        yield from (word for word in words.of(side) if " " not in word or words not in (pools.TEXTS, pools.TOPICS, pools.PLAIN_TOPICS))
    yield from values.options(side)


def _stretches(side: Side) -> Iterator[str]:
    for text in _sentences(side):
        yield from (part.strip() for part in re.split(r"\{\w+\}", text) if len(part.strip()) >= MIN_STRETCH)


def _sentences(side: Side) -> Iterator[str]:
    for domain in domains(side):
        yield from (domain.description, *domain.requests, *domain.vague)
    for fact in passages.facts(side):
        yield from (*fact.sentences, *fact.questions)
    for words in (pools.TEXTS, pools.TOPICS):
        yield from words.of(side)


def _pools() -> Iterator[Pool]:
    for module in (pools, values, passages):
        yield from (each for each in vars(module).values() if isinstance(each, Pool) and each is not pools.PLAIN_TOPICS)
