"""Text and source code: the text as it stands."""

from __future__ import annotations

from offline_assistants.documents.formats.document_writer import too_long
from offline_assistants.documents.plain_text import clean, decode
from offline_assistants.ports import ParsedDocument

_MAX_CHAR_BYTES = 4
"""No encoding takes more; a byte order mark is a character."""


def check_size(num_bytes: int, max_text_chars: int) -> None:
    """Raises InvalidFile for a text that is too long whatever its encoding is."""
    if num_bytes > _MAX_CHAR_BYTES * (max_text_chars + 1):
        raise too_long(max_text_chars)


def parse_plain(content: bytes, max_text_chars: int) -> ParsedDocument:
    check_size(len(content), max_text_chars)
    return ParsedDocument(clean(decode(content)))
