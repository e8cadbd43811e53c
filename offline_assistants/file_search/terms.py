"""What a text is found by in the keyword index: its words, its names in code, its numbers, and pairs of characters where words are not spaced. Pure.

A term has no blanks. Every word is indexed, small ones too: "The Who" is a title. A question is asked without its small words, unless it has no others.

    run_supervisor.cancel_run  →  run_supervisor.cancel_run · run_supervisor run supervisor · cancel_run cancel run
    WindowHit                  →  windowhit window hit
    1,234.50                   →  1234.5
    東京都                      →  東京 京都 東 京 都
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from offline_assistants.file_search.words import NEGATION, SMALL_WORDS, TOKEN, UNSPACED, fold, number_form, stem

MAX_QUERY_TERMS = 64
"""A question that is a page long is asked by its first so many different terms."""
TERM_PUNCTUATION = "._-/:@+#,"
"""What a term may hold beside letters and digits."""

_MAX_TERM_CHARS = 64
_MAX_WORDS_SEEN = 50_000
"""About ten megabytes."""
_LETTER = rf"[^\W{UNSPACED}]"
_COMPOUND = re.compile(rf"(?<!\w)(?:{_LETTER}+[.\-/:@])+{_LETTER}+|(?<!\w)[^\W\d_](?:\+\+|#)(?!\w)")
"""A dotted name, a path, an address, a part number; C++ and C#."""
_PLAIN_NUMBER = re.compile(r"[\d.:]+\Z")
_CAMEL = re.compile(r"[A-Z]+(?=[A-Z][a-z]{2})|[A-Z]?[a-z]+|[A-Z]+")
_APOSTROPHE = re.compile("['’]")


class WordsSeen:
    """The terms of words, looked up where they were seen before: a book says the same few thousand words again and again."""

    def __init__(self) -> None:
        self._terms: dict[str, tuple[str, ...]] = {}

    def terms(self, token: str) -> tuple[str, ...]:
        found = self._terms.get(token)
        if found is None:
            if len(self._terms) >= _MAX_WORDS_SEEN:
                self._terms.clear()
            found = self._terms[token] = tuple(_word_terms(token))
        return found


def index_terms(text: str, seen: WordsSeen | None = None) -> Iterator[str]:
    """All terms of a text that is to be found. `seen` is given again with the next stretch of the same document."""
    word_terms: Callable[[str], Iterable[str]] = seen.terms if seen is not None else _word_terms
    for found in TOKEN.finditer(text):
        token = found.group()
        if found["unspaced"]:
            yield from _pairs(token)
            if len(token) > 1:
                yield from token
        elif found["number"]:
            yield number_form(token.casefold())[:_MAX_TERM_CHARS]
        else:
            yield from word_terms(token)
    yield from _compounds(text)


def query_terms(text: str) -> list[str]:
    """The terms that a question is asked by, each once."""
    telling = dict.fromkeys(_telling_terms(text)) or dict.fromkeys(index_terms(text))
    return list(telling)[:MAX_QUERY_TERMS]


def _telling_terms(text: str) -> Iterator[str]:
    for found in TOKEN.finditer(text):
        token = found.group()
        if found["unspaced"]:
            yield from _pairs(token)
        elif found["number"]:
            yield number_form(token.casefold())[:_MAX_TERM_CHARS]
        elif not _is_small(token):
            yield from _word_terms(token)
    yield from _compounds(text)


def _is_small(token: str) -> bool:
    """ "it" and "who", but not "IT" and "WHO"."""
    is_acronym = len(token) > 1 and token.isupper()
    return not is_acronym and (fold(token) in SMALL_WORDS or NEGATION.fullmatch(token) is not None)


def _pairs(token: str) -> Iterator[str]:
    if len(token) == 1:
        yield token
    for at in range(len(token) - 1):
        yield token[at : at + 2]


def _word_terms(token: str) -> Iterator[str]:
    """The word itself; before its parts, when it is a name in code."""
    whole = _APOSTROPHE.split(token)[0] or token
    yield (fold(whole) if "_" in whole else stem(fold(whole)))[:_MAX_TERM_CHARS]
    if whole.islower() and "_" not in whole:
        return
    pieces = whole.split("_")
    parts = [part for piece in pieces for part in (_CAMEL.findall(piece) if piece.isascii() else [piece]) if len(part) > 1]
    if len(parts) > 1 or (parts and parts[0] != whole):
        yield from (stem(fold(part))[:_MAX_TERM_CHARS] for part in parts)


def _compounds(text: str) -> Iterator[str]:
    for found in _COMPOUND.finditer(text):
        if not _PLAIN_NUMBER.match(found.group()):
            yield fold(found.group())[:_MAX_TERM_CHARS]
