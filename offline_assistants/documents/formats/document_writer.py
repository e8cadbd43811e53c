"""Canonical text while it is being written: headings, pages, paragraphs and rows go in, text and sections come out.

Canonical text has "\\n" as its only line end and no control characters beyond tab and form feed; every offset anywhere counts its characters. Blocks stand
apart by an empty line; the lines of a list and the rows of a table stand one below the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from offline_assistants.documents.plain_text import clean
from offline_assistants.errors import InvalidFile
from offline_assistants.ports import ParsedDocument, Section

CELL_BORDER = " | "
_MAX_TITLE_CHARS = 200
"""Of a heading in a section's path, which is repeated in every section below it. The text has all of it."""
MAX_SECTIONS = 100_000
_MAX_LEVELS = 9
_TRAILING_BLANKS = re.compile(r"[ \t]+(?=\n|\Z)")
_BLANKS = re.compile(r"\s+")


def too_long(max_text_chars: int) -> InvalidFile:
    """What is raised for a document that holds more."""
    return InvalidFile(f"The file holds more than {max_text_chars:,} characters of text, which is the limit. Split it into several files.")


class HeadingPath:
    """Where in the order of headings a document is: "Guide > Install > Linux"."""

    def __init__(self) -> None:
        self._above: list[tuple[int, str]] = []

    def enter(self, level: int, title: str) -> str:
        """The path that a heading begins. A deeper level lies inside a shallower one before it."""
        title = _BLANKS.sub(" ", title).strip()[:_MAX_TITLE_CHARS]
        above = [(other, name) for other, name in self._above if other < level]
        self._above = [*above[-_MAX_LEVELS:], (level, title)]
        return " > ".join(name for _, name in self._above)


@dataclass(slots=True)
class _OpenSection:
    start: int
    end: int
    page: int | None
    heading: str | None


class DocumentWriter:
    """Every method raises InvalidFile as soon as there is more text than `max_text_chars`, or sections without end."""

    def __init__(self, max_text_chars: int) -> None:
        self._max_text_chars = max_text_chars
        self._pieces: list[str] = []
        self._length = 0
        self._path = HeadingPath()
        self._page: int | None = None
        self._heading: str | None = None
        self._sections: list[_OpenSection] = []
        self._is_new_section = False

    def page(self, number: int) -> None:
        """What follows stands on this page, slide or sheet, from 1."""
        self._is_new_section = self._is_new_section or number != self._page
        self._page = number

    def heading(self, level: int, title: str, *, is_shown: bool = True) -> None:
        """What follows stands under this heading; level 0 is the document's title. `is_shown`: it is part of the text."""
        if not title.strip():
            return
        self._heading = self._path.enter(level, clean(title))
        self._is_new_section = True
        if is_shown:
            self.paragraph(title)

    def paragraph(self, text: str) -> None:
        """A block of its own."""
        self._write("\n\n", text)

    def line(self, text: str) -> None:
        """The next line of the block; the first line of a block is a paragraph."""
        self._write("\n", text)

    def row(self, cells: Iterable[str], *, is_first: bool) -> None:
        """A row of a table, on one line; an empty row is left out."""
        texts = [_BLANKS.sub(" ", cell).strip() for cell in cells]
        while texts and not texts[-1]:
            texts.pop()
        self._write("\n\n" if is_first else "\n", CELL_BORDER.join(texts))

    def _write(self, separator: str, text: str) -> None:
        text = _TRAILING_BLANKS.sub("", clean(text)).strip("\n")
        if not text.strip():
            return
        if self._length:
            self._pieces.append(separator)
            self._length += len(separator)
        if self._is_new_section or not self._sections:
            self._open_section()
        self._pieces.append(text)
        self._length += len(text)
        self._sections[-1].end = self._length
        if self._length > self._max_text_chars:
            raise too_long(self._max_text_chars)

    def _open_section(self) -> None:
        if len(self._sections) == MAX_SECTIONS:
            raise InvalidFile(f"The file has more than {MAX_SECTIONS:,} pages and headings. Split it into several files.")
        self._sections.append(_OpenSection(self._length, self._length, self._page, self._heading))
        self._is_new_section = False

    def finish(self) -> ParsedDocument:
        """What was written; sections only where something is known of them."""
        sections = (Section(each.start, each.end, page=each.page, heading=each.heading) for each in self._sections)
        return ParsedDocument("".join(self._pieces), tuple(section for section in sections if section.page is not None or section.heading is not None))
