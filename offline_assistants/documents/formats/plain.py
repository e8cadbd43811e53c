"""Text and source code: the text as it stands."""

from __future__ import annotations

from offline_assistants.documents.formats.document_writer import too_long
from offline_assistants.documents.plain_text import clean, decode
from offline_assistants.ports import ParsedDocument


def parse_plain(content: bytes, max_text_chars: int) -> ParsedDocument:
    if len(content) > 4 * max_text_chars + 4:  # no encoding takes more than four bytes a character
        raise too_long(max_text_chars)
    return ParsedDocument(clean(decode(content)))
