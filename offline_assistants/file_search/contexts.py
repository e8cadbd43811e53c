"""What a stretch of a document is put into an index with: its words, and what it stands under. Pure.

A window in the middle of a section rarely says what the section is about, its heading does. So the heading's path is embedded before the window's text, and
headings and the file's name are among the words of a chunk. What is shown and cited is the text alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

from offline_assistants.file_search.keyword_index import IndexedChunk
from offline_assistants.file_search.terms import WordsSeen, index_terms
from offline_assistants.ports import Chunk, ParsedDocument, Section

MAX_HEADING_CHARS = 160
"""About forty tokens: with a window's 128 it stays well within what an embedder reads."""


def embedded_text(document: ParsedDocument, start: int, end: int) -> str:
    """A window's text under its heading. One that begins with its section has the heading in it."""
    text = document.text[start:end]
    section = _section_at(document.sections, start)
    if section is None or not section.heading or section.start == start:
        return text
    return f"{section.heading[-MAX_HEADING_CHARS:]}\n{text}"


def indexed_chunks(document: ParsedDocument, filename: str, chunks: Iterable[Chunk]) -> Iterator[IndexedChunk]:
    """Chunks with their terms, made one by one as they are taken."""
    name, seen = " ".join(index_terms(PurePath(filename).stem)), WordsSeen()
    for index, chunk in enumerate(chunks):
        headings = dict.fromkeys(section.heading for section in _sections_of(document.sections, chunk.start, chunk.end) if section.heading)
        terms = index_terms("\n".join([*headings, document.text[chunk.start : chunk.end]]), seen)
        yield IndexedChunk(index, chunk.start, chunk.end, chunk.windows, f"{name} {' '.join(terms)}")


def _section_at(sections: Sequence[Section], offset: int) -> Section | None:
    index = bisect_right(sections, offset, key=lambda section: section.start) - 1
    return sections[index] if index >= 0 and offset < sections[index].end else None


def _sections_of(sections: Sequence[Section], start: int, end: int) -> Iterator[Section]:
    first = max(0, bisect_right(sections, start, key=lambda section: section.start) - 1)
    for section in sections[first:]:
        if section.start >= end:
            return
        if section.end > start:
            yield section
