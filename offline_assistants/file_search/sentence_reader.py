"""Follows an answer as it is written and says where its sentences end. Text goes through at once; only blanks wait for what comes after them.

Knows as much Markdown as that takes: code is not prose, a list item or a heading ends with its line, a line break inside a paragraph is a blank.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from offline_assistants.domain.sentences import CLOSERS, OPENS_BLOCK, WIDE_STOPS, is_sentence_end

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_MAY_OPEN_BLOCK = re.compile(r"(?:#{0,6}|[-*+•]|\d{1,3}[.)]?|`{1,2}|~{1,2}|\*{1,2})\Z")
_NOT_PROSE = re.compile(r"[ \t]*(?:#{1,6}\s|\||\*\*[^*]*\*\*:?\s*\Z)")
_MAY_END_UNSPACED = frozenset(WIDE_STOPS + CLOSERS)
_LINE_CHARS = 200
"""How much of a line is looked at to tell what it is."""
_SENTENCE_CHARS = 2000
"""How much of a sentence is kept: beyond this it is not one, and its beginning is forgotten."""
_LIST_MARK = re.compile(r"(?:[-*+•]|\d{1,3}[.)])\s+")
_ENDS_WITHOUT_CLAIM = ("?", "？", ":", "：")


@dataclass(frozen=True, slots=True)
class SentenceEnd:
    """A sentence ended here; the blanks after it are still to come."""

    sentence: str
    """Without the mark of a list's item."""


class SentenceReader:
    """Feed it text; it gives the same text back, with SentenceEnd after each sentence that could be cited. Code, headings and questions have none."""

    def __init__(self) -> None:
        self._events: list[str | SentenceEnd] = []
        self._sentence = ""
        self._line = ""
        """The line that the last visible character stands on."""
        self._blanks = ""
        self._opening = ""
        """First characters of a new line, as long as it is unknown whether they open a block."""
        self._fence = ""

    def feed(self, text: str) -> list[str | SentenceEnd]:
        for character in text:
            self._take(character)
        return self._take_events()

    def finish(self) -> list[str | SentenceEnd]:
        """What was held back. A last sentence without a final stop is one nevertheless."""
        if self._opening:
            self._go_on(self._opening)
        if not self._fence and not _FENCE.match(self._line):
            self._end_sentence()
        self._events.append(self._blanks)
        self._blanks = ""
        return self._take_events()

    def _take_events(self) -> list[str | SentenceEnd]:
        """Neighbouring pieces of text come as one."""
        merged: list[str | SentenceEnd] = []
        for event in self._events:
            if isinstance(event, str) and merged and isinstance(merged[-1], str):
                merged[-1] += event
            elif event:
                merged.append(event)
        self._events = []
        return merged

    def _take(self, character: str) -> None:
        if self._fence:
            self._take_code(character)
        elif self._opening:
            self._take_opening(character)
        elif character.isspace():
            self._take_blank(character)
        else:
            self._take_visible(character)

    def _take_code(self, character: str) -> None:
        self._events.append(character)
        if character != "\n":
            self._line = (self._line + character)[:_LINE_CHARS]
            return
        if self._line.strip().startswith(self._fence) and not self._line.strip(" \t`~"):
            self._fence = ""
        self._line = ""

    def _take_blank(self, character: str) -> None:
        self._blanks += character
        if character == "\n" and (fence := _FENCE.match(self._line)):
            self._fence = fence[1]
            self._events.append(self._blanks)
            self._blanks = self._sentence = self._line = ""

    def _take_visible(self, character: str) -> None:
        is_new_line = "\n" in self._blanks
        if self._ends_before(character) or (is_new_line and self._ends_with_line()):
            self._end_sentence()
            self._go_on(character)
        elif is_new_line and self._sentence:
            self._opening = character
            self._decide_opening(character)
        else:
            self._go_on(character)

    def _take_opening(self, character: str) -> None:
        self._opening += character
        self._decide_opening(self._opening)

    def _decide_opening(self, opening: str) -> None:
        if _MAY_OPEN_BLOCK.match(opening):
            return
        self._opening = ""
        if OPENS_BLOCK.match(opening):
            self._end_sentence()
        if opening[-1].isspace():
            self._go_on(opening[:-1])
            self._take_blank(opening[-1])
        else:
            self._go_on(opening)

    def _ends_before(self, character: str) -> bool:
        if not self._blanks and (self._sentence[-1:] not in _MAY_END_UNSPACED or character in _MAY_END_UNSPACED):
            return False
        following = character if self._blanks else "a"  # a small letter: without a blank, only wide stops end a sentence
        return is_sentence_end(self._sentence, following) and not self._sentence.count("`") % 2

    def _ends_with_line(self) -> bool:
        """Whether the line break that is held ends a block."""
        return self._blanks.count("\n") > 1 or OPENS_BLOCK.match(self._line) is not None

    def _go_on(self, visible: str) -> None:
        written = self._blanks + visible
        self._line = visible if "\n" in self._blanks else (self._line + written)[:_LINE_CHARS]
        self._sentence = (self._sentence + written)[-_SENTENCE_CHARS:] if self._sentence else visible
        self._events.append(written)
        self._blanks = self._opening = ""

    def _end_sentence(self) -> None:
        sentence, self._sentence = self._sentence, ""
        claim = sentence.rstrip(CLOSERS)
        if claim and not claim.endswith(_ENDS_WITHOUT_CLAIM) and not _NOT_PROSE.match(self._line):
            self._events.append(SentenceEnd(_LIST_MARK.sub("", sentence, count=1) if _LIST_MARK.match(sentence) else sentence))
