"""Tables of records: each row on a line of its own, every value with the header of its column. A row that is found alone says what its values are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from offline_assistants.documents.formats.document_writer import CELL_BORDER, DocumentWriter
from offline_assistants.documents.plain_text import clean, decode
from offline_assistants.errors import InvalidFile
from offline_assistants.ports import ParsedDocument

_SAMPLE_CHARS = 1 << 16
_SEPARATORS = ",;\t|"
_MAX_FIELD_CHARS = 1 << 24
_SAMPLE_ROWS = 20


def parse_csv(content: bytes, max_text_chars: int) -> ParsedDocument:
    """Comma, semicolon, tab or bar: whichever the first lines agree on."""
    text = clean(decode(content))
    csv.field_size_limit(_MAX_FIELD_CHARS)
    writer = DocumentWriter(max_text_chars)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text[:_SAMPLE_CHARS]))
    try:
        write_records(rows, writer)
    except csv.Error as error:
        raise InvalidFile(f"Row {rows.line_num:,} of the table cannot be read: {error}. Save it again as CSV.") from error
    return writer.finish()


def _separator(sample: str) -> str:
    """The one that splits most of the first lines into the same number of cells."""

    def agreement(separator: str) -> tuple[int, int]:
        widths = [len(row) for row in islice(csv.reader(io.StringIO(sample, newline=""), delimiter=separator), _SAMPLE_ROWS) if row]
        usual = max(set(widths), key=widths.count, default=1)
        return (widths.count(usual), usual) if usual > 1 else (0, 0)

    try:
        return max(_SEPARATORS, key=agreement)
    except csv.Error:
        return ","


def write_records(rows: Iterable[Sequence[str]], writer: DocumentWriter) -> None:
    """`Name: Ada | Born: 1815` for every row below a header; as they stand where the first row is no header."""
    filled = (row for row in rows if any(cell.strip() for cell in row))
    above = list(islice(filled, 2))
    header = above[0] if len(above) == 2 and _is_header(above[0]) else None
    lines: Iterator[Sequence[str]] = chain(above if header is None else above[1:], filled)
    for index, row in enumerate(lines):
        writer.row(row if header is None else _labelled(row, header), is_first=index == 0)


def _is_header(row: Sequence[str]) -> bool:
    """Names only, each once, and more than one: a single cell is the table's title."""
    names = [cell.strip() for cell in row if cell.strip()]
    return len(names) > 1 and len(set(names)) == len(names) and not any(_is_number(name) for name in names)


def _is_number(text: str) -> bool:
    return text[:1].isdigit() and all(character.isdigit() or character in ".,:-/% " for character in text)


def _labelled(row: Sequence[str], header: Sequence[str]) -> list[str]:
    """Without empty cells: their header would say that there is something. Never split where a value holds the border between cells."""
    shown: list[str] = []
    for index, cell in enumerate(row):
        name = header[index].strip() if index < len(header) else ""
        if value := cell.strip():
            shown.append(f"{name}: {value}" if name else value)
    return [CELL_BORDER.join(shown)]
