"""Old Word documents (.doc, Word 97 to 2003): text, headings and table rows, after Microsoft's [MS-DOC].

The text lies in pieces that the piece table lists (2.8.35 PlcPcd); which style a paragraph has is in the pages of paragraph properties (2.9.174 PapxFkp).
"""

from __future__ import annotations

import io
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import olefile

from offline_assistants.documents.formats.document_writer import DocumentWriter
from offline_assistants.errors import InvalidFile
from offline_assistants.ports import ParsedDocument

_MAGIC = 0xA5EC
_ENCRYPTED, _TABLE_1 = 0x0100, 0x0200
_FLAGS, _TEXT_LENGTHS, _PROPERTIES_TABLE, _PIECE_TABLE = 0x0A, 0x4C, 0x102, 0x1A2
"""Where the document's first bytes (2.5.1 Fib) say so."""
_IN_TABLE, _ENDS_ROW = b"\x16\x24\x01", b"\x17\x24\x01"
"""sprmPFInTable and sprmPFTtp, both true (2.6.2)."""
_PAGE_BYTES = 512
_COMPRESSED = 0x40000000
_HEADING_STYLES = range(1, 10)
"""Indexes of "heading 1" to "heading 9" in every document (2.9.271 STD)."""
_TITLE_STYLE = 62
_PARAGRAPH = re.compile("[^\r\x07\x0c]*[\r\x07\x0c]?")
_FIELD_CODE = re.compile("\x13[^\x13\x14\x15]*(?:\x14|(?=\x15))")
_CHARACTERS = str.maketrans({"\x0b": "\n", "\x1e": "-", "\x1f": None, "\xa0": " ", **dict.fromkeys(map(chr, (0, 1, 2, 3, 4, 5, 8, 0x14, 0x15)))})


def parse_doc(content: bytes, max_text_chars: int) -> ParsedDocument:
    if not content.startswith(olefile.MAGIC):
        raise _damaged()
    try:
        return _WordDocument(_Container(content)).write(DocumentWriter(max_text_chars))
    except (OSError, struct.error, IndexError, UnicodeError, TypeError, ValueError) as error:
        raise _damaged() from error


def _damaged() -> InvalidFile:
    return InvalidFile("The file is damaged, or is no Word document of Word 97 or later. Open it on your machine and save it as .docx.")


class _Container:
    """The file system that a .doc is, by the names of its streams."""

    def __init__(self, content: bytes) -> None:
        self._files = cast("Any", olefile.OleFileIO(io.BytesIO(content)))

    def read(self, name: str) -> bytes:
        return cast("bytes", self._files.openstream(name).read())


class _Piece(NamedTuple):
    """A stretch of the text, and where its bytes lie in the stream of the document."""

    start: int
    offset: int
    char_bytes: int
    text: str


class _Properties(NamedTuple):
    """Of the paragraph whose bytes begin at `start`."""

    start: int
    style: int = 0
    is_in_table: bool = False
    ends_row: bool = False


class _WordDocument:
    def __init__(self, container: _Container) -> None:
        self._stream = container.read("WordDocument")
        (magic,), (flags,) = _unpack("<H", self._stream, 0), _unpack("<H", self._stream, _FLAGS)
        if magic != _MAGIC:
            raise _damaged()
        if flags & _ENCRYPTED:
            raise InvalidFile("The file is protected by a password. Save a copy without one and upload that.")
        self._table = container.read("1Table" if flags & _TABLE_1 else "0Table")
        self._main_length, self._notes_length = (max(0, length) for length in _unpack("<2i", self._stream, _TEXT_LENGTHS))
        self._pieces = list(self._read_pieces())
        self._properties = sorted(self._read_properties())

    def write(self, writer: DocumentWriter) -> ParsedDocument:
        """The main text, then the footnotes; not what is repeated on every page."""
        text = "".join(piece.text for piece in self._pieces)
        self._write_main(text[: self._main_length], writer)
        for note in text[self._main_length : self._main_length + self._notes_length].split("\r"):
            writer.paragraph(_shown(note))
        return writer.finish()

    def _write_main(self, text: str, writer: DocumentWriter) -> None:
        cells, cell, is_first_row = list[str](), list[str](), True
        for found in _PARAGRAPH.finditer(text):
            shown, properties = _shown(found[0]), self._properties_at(found.start())
            if found[0].endswith("\x07") and properties.ends_row:
                writer.row(cells, is_first=is_first_row)
                cells, cell, is_first_row = [], [], False
            elif found[0].endswith("\x07"):
                cells.append(" ".join([*cell, shown]))
                cell = []
            elif properties.is_in_table:
                cell.append(shown)
            else:
                is_first_row = True
                _write_paragraph(shown, properties.style, writer)

    def _properties_at(self, start: int) -> _Properties:
        """Of the paragraph that begins with the character `start`."""
        piece = self._pieces[max(0, bisect_right(self._pieces, start, key=lambda piece: piece.start) - 1)]
        offset = piece.offset + (start - piece.start) * piece.char_bytes
        index = bisect_right(self._properties, offset, key=lambda each: each.start) - 1
        return self._properties[index] if index >= 0 else _Properties(0)

    def _read_pieces(self) -> Iterator[_Piece]:
        start, length = _unpack("<II", self._stream, _PIECE_TABLE)
        clx = self._table[start : start + length]
        at = 0
        while clx[at] == 1:  # formatting, which says nothing
            at += 3 + _unpack("<H", clx, at + 1)[0]
        num_pieces = (_unpack("<I", clx, at + 1)[0] - 4) // 12
        borders = _unpack(f"<{num_pieces + 1}I", clx, at + 5)
        first = 0
        for number in range(num_pieces):
            (place,) = _unpack("<I", clx, at + 5 + 4 * (num_pieces + 1) + 8 * number + 2)
            char_bytes, offset, encoding = (1, (place & ~_COMPRESSED) // 2, "cp1252") if place & _COMPRESSED else (2, place, "utf-16-le")
            num_bytes = max(0, borders[number + 1] - borders[number]) * char_bytes
            # A character beyond 16 bits counts as two there and as one here; what is asked about is begun before it in all but the rarest texts.
            text = self._stream[offset : offset + num_bytes].decode(encoding, "replace")
            yield _Piece(first, offset, char_bytes, text)
            first += len(text)

    def _read_properties(self) -> Iterator[_Properties]:
        start, length = _unpack("<II", self._stream, _PROPERTIES_TABLE)
        num_pages = (length - 4) // 8
        for page_number in _unpack(f"<{num_pages}I", self._table, start + 4 * (num_pages + 1)):
            page = self._stream[page_number * _PAGE_BYTES : (page_number + 1) * _PAGE_BYTES]
            num_runs = page[-1]
            starts = _unpack(f"<{num_runs}I", page, 0)
            for number in range(num_runs):
                yield _paragraph_properties(page, starts[number], 2 * page[4 * (num_runs + 1) + 13 * number])


def _paragraph_properties(page: bytes, start: int, at: int) -> _Properties:
    if at == 0:
        return _Properties(start)
    first, size = (at + 2, 2 * page[at + 1]) if page[at] == 0 else (at + 1, 2 * page[at] - 1)
    changes = page[first + 2 : first + size]
    return _Properties(start, _unpack("<H", page, first)[0], is_in_table=_IN_TABLE in changes, ends_row=_ENDS_ROW in changes)


def _write_paragraph(text: str, style: int, writer: DocumentWriter) -> None:
    if style in _HEADING_STYLES:
        writer.heading(style, text)
    elif style == _TITLE_STYLE:
        writer.heading(0, text)
    else:
        writer.paragraph(text)


def _unpack(form: str, content: bytes, at: int) -> tuple[int, ...]:
    return struct.unpack_from(form, content, at)


def _shown(text: str) -> str:
    """Without the codes of fields, of which only the results are text."""
    return _FIELD_CODE.sub("", text).translate(_CHARACTERS).strip("\r\x07\x0c\t ")
