"""Markdown: the text as it stands, with a section for each heading outside code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from offline_assistants.documents.formats.document_writer import MAX_SECTIONS, HeadingPath
from offline_assistants.documents.formats.plain import parse_plain
from offline_assistants.ports import ParsedDocument, Section

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*\Z")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*\Z")
_NOT_A_TITLE = re.compile(r" {0,3}(?:[-*+>|]|\d+[.)])|[ \t]*\Z| {4}|\t")


def parse_markdown(content: bytes, max_text_chars: int) -> ParsedDocument:
    """The text as it stands; a section runs from its heading to the next one, and its name is the path: "Guide > Install > Linux"."""
    text = parse_plain(content, max_text_chars).text
    path = HeadingPath()
    starts: list[tuple[int, str | None]] = [(0, None), *((start, path.enter(level, title)) for start, level, title in islice(_headings(text), MAX_SECTIONS))]
    ends = [start for start, _ in starts[1:]] + [len(text)]
    sections = (Section(start, end, heading=heading) for (start, heading), end in zip(starts, ends, strict=True) if start < end)
    return ParsedDocument(text, tuple(sections))


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """Offset, level and title of each heading outside code."""
    fence, previous, previous_start, start = "", "", 0, 0
    for line in text.split("\n"):
        fenced = _FENCE.match(line)
        if fence:
            if fenced and fenced[1].startswith(fence) and not line[fenced.end() :].strip():
                fence = ""
            previous = ""
        elif fenced:
            fence, previous = fenced[1], ""
        elif found := _HEADING.match(line):
            if found[2]:
                yield start, len(found[1]), found[2]
            previous = ""
        elif (under := _UNDERLINE.match(line)) and not _NOT_A_TITLE.match(previous):
            yield previous_start, 1 if under[1][0] == "=" else 2, previous.strip()
            previous = ""
        else:
            previous, previous_start = line, start
        start += len(line) + 1
