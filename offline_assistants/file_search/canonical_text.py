"""A parsed file as it is kept: the canonical text and where its stretches stand in the original."""

from __future__ import annotations

import json
from dataclasses import asdict

from offline_assistants.ports import ParsedDocument, Section


def dump(document: ParsedDocument) -> bytes:
    """The form in which it is kept as a blob."""
    return json.dumps(asdict(document), ensure_ascii=False, separators=(",", ":")).encode()


def load(content: bytes) -> ParsedDocument:
    """The inverse of `dump`."""
    fields = json.loads(content)
    return ParsedDocument(text=fields["text"], sections=tuple(Section(**section) for section in fields["sections"]))
