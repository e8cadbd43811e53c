"""Which files can be searched, by the endings of their names: the one list of them. Knows nothing of how they are read."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import PurePosixPath


class Kind(StrEnum):
    """What is read in the same way. Its value is the endings that it goes by."""

    PLAIN = "bash c cfg conf cpp cs css go h hpp ini java js json jsonl jsx kt log php py r rb rs rst sh sql swift tex toml ts tsx txt xml yaml yml"
    MARKDOWN = "md markdown"
    HTML = "html htm xhtml"
    PDF = "pdf"
    WORD = "docx docm dotx"
    OLD_WORD = "doc dot"
    SLIDES = "pptx pptm ppsx"
    WORKBOOK = "xlsx xlsm"
    TABLE = "csv tsv"
    OPEN_DOCUMENT = "odt ott"
    BOOK = "epub"
    EMAIL = "eml"
    RICH_TEXT = "rtf"


KINDS = {name: kind for kind in Kind for name in kind.value.split()}
SEARCHABLE = frozenset(KINDS)


def ending(filename: str) -> str:
    """In lower case and without the dot; empty where there is none."""
    return PurePosixPath(filename).suffix.lower().removeprefix(".")


def unsearchable(filenames: Iterable[str]) -> list[str]:
    """The endings of those that cannot be searched, each once, with the dot; `none` for a name without an ending, as the API said."""
    found = dict.fromkeys(ending(name) for name in filenames)
    return [f".{each}" if each else "none" for each in found if each not in SEARCHABLE]
