"""The columns that a model is told of before it looks into a table."""

from __future__ import annotations

import pytest

from offline_assistants.runs.table_columns import MAX_HEADER_BYTES, Columns, columns_of, is_table


@pytest.mark.parametrize(
    ("name", "head", "columns"),
    [
        ("trees.csv", b"kind,height\noak,21.5\n", ("kind", "height")),
        ("trees.csv", b"kind;height;where\r\noak;21,5;park\r\n", ("kind", "height", "where")),
        ("trees.tsv", b"kind\theight, m\noak\t21\n", ("kind", "height, m")),
        ("trees.csv", b'"tree, kind",height\n', ("tree, kind", "height")),
        ("trees.csv", b"\xef\xbb\xbfkind,H\xc3\xb6he\n", ("kind", "Höhe")),
        ("trees.csv", "kind,Höhe\n".encode("utf-16"), ("kind", "Höhe")),
        ("trees.csv", b"kind,height", ("kind", "height")),
        ("one.csv", b"height\n3\n", ("height",)),
    ],
)
def test_columns_are_the_names_of_the_first_line(name: str, head: bytes, columns: tuple[str, ...]) -> None:
    assert columns_of(name, head).names == columns


@pytest.mark.parametrize(
    "head",
    [b"", b"\n1,2\n", b"oak,21.5\n", b"a,,b\n", b"a" * MAX_HEADER_BYTES, b"kind,H\xf6he\n", b"a\0b,c\n", ",".join(f"c{i}" for i in range(61)).encode()],
    ids=["empty", "empty line", "numbers", "a gap", "cut off", "another encoding", "no text", "too many"],
)
def test_a_first_line_that_is_no_header_tells_nothing(head: bytes) -> None:
    assert columns_of("trees.csv", head) == Columns()


def test_tables_are_known_by_their_names() -> None:
    assert is_table("Trees.CSV")
    assert is_table("a.tsv")
    assert not is_table("a.xlsx")


def test_columns_are_told_as_programs_name_them() -> None:
    assert str(columns_of("a.csv", b"kind,so called\n")) == 'columns "kind", "so called"'
    assert str(columns_of("a.csv", b"kind;height\n")) == 'columns "kind", "height", separated by ";"'
    assert str(columns_of("a.tsv", b"kind\theight\n")) == 'columns "kind", "height", separated by "\\t"'
