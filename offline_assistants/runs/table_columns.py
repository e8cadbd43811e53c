"""The columns of a table in plain text, read from its first line."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass

MAX_HEADER_BYTES = 16_384
MAX_COLUMNS = 60
"""More would fill the prompt of a small model; whoever has so many asks for them."""
MAX_NAME = 60
_DELIMITERS = ",;\t|"


def is_table(filename: str) -> bool:
    """Whether the file, by its name, is a table in plain text."""
    return filename.lower().endswith((".csv", ".tsv"))


@dataclass(frozen=True, slots=True)
class Columns:
    names: tuple[str, ...] = ()
    delimiter: str = ","

    def __str__(self) -> str:
        """As a model is told of them: quoted, as programs name them."""
        named = ", ".join(json.dumps(name, ensure_ascii=False) for name in self.names)
        return f"columns {named}" + ("" if self.delimiter == "," else f", separated by {json.dumps(self.delimiter)}")


def columns_of(filename: str, head: bytes) -> Columns:
    """The names in the first line of a file that begins with `head`; none when that line is no header that can be read in full."""
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    line, end, _ = head.decode(encoding, "replace").replace("\r", "\n").partition("\n")
    if "\ufffd" in line or "\0" in line or not (end or len(head) < MAX_HEADER_BYTES):
        return Columns()
    delimiter = "\t" if filename.lower().endswith(".tsv") else max(_DELIMITERS, key=line.count)
    names = tuple(name.strip() for name in next(csv.reader([line], delimiter=delimiter), list[str]()))
    is_header = all(name and len(name) <= MAX_NAME and not _is_number(name) for name in names)
    return Columns(names, delimiter) if is_header and 0 < len(names) <= MAX_COLUMNS else Columns()


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
