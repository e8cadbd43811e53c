"""Which files of a vector store are meant: comparisons of their attributes, joined by and/or to any depth. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from offline_assistants.domain.objects import Shape

Scalar: TypeAlias = str | bool | int | float

_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


class ComparisonFilter(Shape):
    """One attribute against a value. Values of different kinds are neither equal nor in any order; a file without the attribute passes `ne` and `nin` only."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: str
    value: Scalar | list[Scalar]

    @model_validator(mode="after")
    def _check_value(self) -> ComparisonFilter:
        if isinstance(self.value, list) != (self.type in ("in", "nin")):
            raise ValueError(f"'{self.type}' compares with {'a list of values' if self.type in ('in', 'nin') else 'one value'}")
        return self

    def accepts(self, attributes: Mapping[str, Scalar]) -> bool:
        values = self.value if isinstance(self.value, list) else [self.value]
        given = attributes.get(self.key)
        if self.type in ("ne", "nin"):
            return given is None or not any(_is_same(given, value) for value in values)
        if given is None:
            return False
        if self.type in ("eq", "in"):
            return any(_is_same(given, value) for value in values)
        return all(_kind(given) == _kind(value) and _ORDER[self.type](given, value) for value in values)


class CompoundFilter(Shape):
    type: Literal["and", "or"]
    filters: list[AttributeFilter]

    def accepts(self, attributes: Mapping[str, Scalar]) -> bool:
        return (all if self.type == "and" else any)(each.accepts(attributes) for each in self.filters)


AttributeFilter = Annotated[ComparisonFilter | CompoundFilter, Field(discriminator="type")]
CompoundFilter.model_rebuild()


def _is_same(one: Scalar, other: Scalar) -> bool:
    return _kind(one) == _kind(other) and one == other


def _kind(value: Scalar) -> str:
    """Python takes True for 1; nobody who filters does."""
    return "boolean" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
