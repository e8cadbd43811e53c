"""A grammar while it is being written, in llguidance's form of Lark. Knows which words are single tokens that no text can spell."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from offline_assistants.engine.chat_formats.schemas import json_rule

_ANYTHING = "/(?s:.*)/"
_FLEXIBLE = re.compile(r"(\n\s*)")


class Rules:
    def __init__(self, special_words: Mapping[str, int]) -> None:
        """`special_words`: words that the vocabulary has as tokens of their own which the grammar's strings do not match, with their ids."""
        self._special = special_words
        self._split = re.compile("(" + "|".join(re.escape(word) for word in sorted(special_words, key=len, reverse=True)) + ")") if special_words else None
        self._rules: dict[str, str] = {}

    def add(self, body: str, *, name: str = "", attributes: str = "") -> str:
        """Adds a rule, and returns its name."""
        name = name or f"r{len(self._rules)}"
        self._rules[name] = f"{name}{attributes}: {body}"
        return name

    def terminal(self, pattern: str) -> str:
        """Adds a terminal, and returns its name."""
        name = f"T{len(self._rules)}"
        self._rules[name] = f"{name}: {pattern}"
        return name

    def words(self, text: str, *, is_exact: bool = False) -> str:
        """These very words; a line break, and the spaces after it, may be missing unless `is_exact`."""
        return " ".join(self._piece(piece, is_exact=is_exact) for piece in self._pieces(text))

    def json(self, schema: dict[str, Any]) -> str:
        return json_rule(schema)

    def text_until(self, mark: str, *, pattern: str = _ANYTHING) -> str:
        """Text of this pattern up to the first `mark`, and the mark."""
        core = mark.strip() or mark
        lead, trail = mark[: mark.index(core)], mark[mark.index(core) + len(core) :]
        end = self.words(trail) if trail else ""
        pieces = self._pieces(core)
        place = next((i for i, piece in enumerate(pieces) if piece in self._special), None)
        if place is None:
            broken = f"/{pattern_of(lead)}/? " if lead else ""
            return self.add(f"{pattern} {broken}{json.dumps(core, ensure_ascii=False)}", attributes="[lazy]") + f" {end}"
        # What stands before a special word is text like any other, and cannot be told from it.
        ending = f" & /(?s:.*){pattern_of(''.join(pieces[:place]))}/" if place else ""
        text = self.terminal(f"{pattern} & {self.without(core)}{ending}")
        return " ".join([text, self.words(lead), *(self._piece(piece) for piece in pieces[place:]), end])

    def without(self, *words: str) -> str:
        """A pattern of any text without these words, also where they are not a token but spelled."""
        return " & ".join(f"~/(?s:.*){pattern_of(word)}(?s:.*)/" for word in words)

    def lark(self, start: str) -> str:
        return "\n".join([f"start: {start}", *self._rules.values()])

    def _pieces(self, text: str) -> list[str]:
        return [piece for piece in (self._split.split(text) if self._split else [text]) if piece]

    def _piece(self, piece: str, *, is_exact: bool = False) -> str:
        if piece in self._special:
            return f"<[{self._special[piece]}]>"
        if is_exact:
            return json.dumps(piece, ensure_ascii=False)
        parts = [part for part in _FLEXIBLE.split(piece) if part]
        return " ".join(json.dumps(part, ensure_ascii=False) + ("?" if part.startswith("\n") else "") for part in parts)


def pattern_of(text: str) -> str:
    """A regular expression of exactly this text, in a form that stands between slashes."""
    return re.sub(r"([\\.^$|?*+(){}\[\]/])", r"\\\1", text).replace("\n", "\\n")


def loose(words: str) -> str:
    """A regular expression, for Python, of these words, in which a line break and the spaces after it may be missing."""
    return "".join(r"\s*" if part.startswith("\n") else re.escape(part) for part in _FLEXIBLE.split(words) if part)
