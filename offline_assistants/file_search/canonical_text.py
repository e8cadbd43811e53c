"""A parsed file as it is kept: the canonical text and where its stretches stand in the original."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import asdict

from offline_assistants.ports import ParsedDocument, Section


def dump(document: ParsedDocument) -> bytes:
    """The form in which it is kept as a blob."""
    return json.dumps(asdict(document), ensure_ascii=False, separators=(",", ":")).encode()


def load(content: bytes) -> ParsedDocument:
    """The inverse of `dump`."""
    fields = json.loads(content)
    return ParsedDocument(text=fields["text"], sections=tuple(Section(**section) for section in fields["sections"]))


def page_at(document: ParsedDocument, offset: int) -> int | None:
    """The page, from 1, on which the character at `offset` stands; None where the original has no pages."""
    index = bisect_right(document.sections, offset, key=lambda section: section.start) - 1
    return document.sections[index].page if index >= 0 else None
