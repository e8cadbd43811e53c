"""Filters of files by their attributes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from offline_assistants.domain.attribute_filters import AttributeFilter

FILTER: TypeAdapter[Any] = TypeAdapter(AttributeFilter)
BOOK = {"year": 2024, "price": 9.5, "language": "de", "is_new": True}


def compare(kind: str, key: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "key": key, "value": value}


@pytest.mark.parametrize(
    ("kind", "key", "value", "accepts"),
    [
        ("eq", "year", 2024, True),
        ("eq", "year", 2024.0, True),
        ("eq", "year", "2024", False),
        ("eq", "is_new", True, True),
        ("eq", "is_new", 1, False),
        ("eq", "author", "x", False),
        ("ne", "language", "en", True),
        ("ne", "language", "de", False),
        ("ne", "author", "x", True),
        ("gt", "year", 2023, True),
        ("gt", "year", 2024, False),
        ("gte", "year", 2024, True),
        ("lt", "price", 10, True),
        ("lte", "price", 9.4, False),
        ("lt", "language", "en", True),
        ("gt", "language", 1, False),
        ("gt", "author", 1, False),
        ("in", "language", ["en", "de"], True),
        ("in", "language", [], False),
        ("in", "year", ["2024"], False),
        ("nin", "language", ["en"], True),
        ("nin", "language", ["en", "de"], False),
        ("nin", "author", ["x"], True),
    ],
)
def test_a_comparison_accepts_what_it_says(kind: str, key: str, value: Any, accepts: bool) -> None:
    assert FILTER.validate_python(compare(kind, key, value)).accepts(BOOK) is accepts


def test_filters_can_be_joined_to_any_depth() -> None:
    old_or_german = {"type": "or", "filters": [compare("lt", "year", 2000), compare("eq", "language", "de")]}
    both = FILTER.validate_python({"type": "and", "filters": [old_or_german, compare("eq", "is_new", True)]})

    assert both.accepts(BOOK)
    assert not both.accepts(BOOK | {"language": "en"})
    assert not both.accepts(BOOK | {"is_new": False})
    assert FILTER.validate_python({"type": "and", "filters": []}).accepts({})


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"type": "like", "key": "a", "value": "b"},
        compare("in", "a", "b"),
        compare("eq", "a", ["b"]),
        compare("eq", "a", None),
        {"type": "and"},
        {"type": "and", "filters": [{"type": "eq"}]},
        compare("eq", "a", 1) | {"colour": 1},
    ],
)
def test_what_is_no_filter_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FILTER.validate_python(wrong)
