"""Which files can be searched: said when a file is added, and true when it is read."""

from __future__ import annotations

import pytest

from offline_assistants.documents.parsers import parse
from offline_assistants.domain.file_types import SEARCHABLE, unsearchable
from offline_assistants.errors import InvalidFile, UnsupportedFile


@pytest.mark.parametrize("name", sorted(SEARCHABLE))
def test_every_searchable_ending_has_its_parser(name: str) -> None:
    with pytest.raises(InvalidFile):
        parse(f"a.{name}", b"", max_text_chars=10)


@pytest.mark.parametrize("name", ["a.zip", "a.png", "a", "a.", ".txt", "a.txt.gz", "txt"])
def test_what_no_parser_reads_is_known_to_be_unsearchable(name: str) -> None:
    assert unsearchable([name]) != []
    with pytest.raises(UnsupportedFile):
        parse(name, b"text", max_text_chars=10)


def test_endings_are_named_once_and_as_the_api_named_them() -> None:
    assert unsearchable(["a.ZIP", "b.zip", "c.txt", "d", "e.tar.gz"]) == [".zip", "none", ".gz"]
