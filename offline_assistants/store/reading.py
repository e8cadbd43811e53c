"""What is asked of the tables: objects by key, pages, counts. Knows nothing of threads, transactions or the database's library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol

from offline_assistants.domain.objects import ApiObject, RootObject, Run
from offline_assistants.store.recent import Recent
from offline_assistants.store.tables import TABLES, Equal, Name, Selection, T, select

Order = Literal["asc", "desc"]


class Query(Protocol):
    def __call__(self, statement: str, words: Mapping[str, str], values: Sequence[object] = ()) -> list[Any]:
        """The rows of a named statement, its braces filled with `words`."""
        ...


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: list[T]
    has_more: bool
    """Whether there are more in the direction of travel: behind `after`, or before `before`."""


class Reader:
    def __init__(self, query: Query) -> None:
        self._query = query

    def docs(self, cls: type[ApiObject], keys: Sequence[str]) -> dict[str, str]:
        """Documents of those that exist, by key."""
        words = TABLES[cls].words | {"marks": ", ".join("?" * len(keys))}
        return dict(self._query("docs", words, keys)) if keys else {}

    def objects(self, cls: type[T], keys: Sequence[str]) -> dict[str, T]:
        return {key: cls.model_validate_json(doc) for key, doc in self.docs(cls, keys).items()}

    def active_runs(self) -> list[Run]:
        return [Run.model_validate_json(doc) for (doc,) in self._query("active_runs", {})]

    def projects(self) -> list[str]:
        """Those that have anything, by name."""
        roots = [table for cls, table in TABLES.items() if issubclass(cls, RootObject)]
        return sorted({name for table in roots for (name,) in self._query("projects", table.words)})

    def count(self, chosen: Selection[Any]) -> int:
        return self._query("count", chosen.words, [*chosen.family.values, *chosen.wanted.values])[0][0]

    def keys(self, chosen: Selection[Any]) -> list[str]:
        return [key for (key,) in self._query("keys", chosen.words, chosen.family.values)]

    def mentions(self, cls: type[ApiObject], text: str) -> list[str]:
        return [key for (key,) in self._query("mentions", TABLES[cls].words, [text])]

    def places(self, chosen: Selection[Any], order: Order, limit: int | None) -> list[int]:
        """Where the chosen objects stand in the order of creation."""
        return [seq for (seq,) in self._query("places", chosen.words | {"order": order}, _values(chosen, limit))]

    def stretch(self, chosen: Selection[T], places: Sequence[int]) -> list[T]:
        """The objects at these places, in this order, without those deleted meanwhile."""
        if not places:
            return []
        bounds = sorted((places[0], places[-1]))
        docs = dict(self._query("stretch", chosen.words, [*chosen.family.values, *bounds]))
        return [chosen.cls.model_validate_json(docs[seq]) for seq in places if seq in docs]

    def page(self, chosen: Selection[T], *, limit: int, order: Order, after: str | None, before: str | None) -> Page[T]:
        later, earlier = ("seq > ?", "seq < ?") if order == "asc" else ("seq < ?", "seq > ?")
        rest = chosen
        if after is not None:
            rest = rest.within(later, self._place(chosen, after, "after"))
        if before is not None:
            rest = rest.within(earlier, self._place(chosen, before, "before"))
        is_backwards = before is not None and after is None
        towards: Order = "asc" if (order == "asc") != is_backwards else "desc"
        items, has_more = self._first(rest, towards, limit)
        return Page(items[::-1] if is_backwards else items, has_more=has_more)

    def _first(self, chosen: Selection[T], order: Order, limit: int) -> tuple[list[T], bool]:
        """So many, and whether there are more. Where they are a part of the table, in one statement."""
        if not chosen.is_indexed:
            places = self.places(chosen, order, limit + 1)
            return self.stretch(chosen, places[:limit]), len(places) > limit
        rows = self._query("page", chosen.words | {"order": order}, _values(chosen, limit + 1))
        return [chosen.cls.model_validate_json(doc) for _, doc in rows[:limit]], len(rows) > limit

    def _place(self, chosen: Selection[Any], key: str, param: str) -> int:
        rows = self._query("place", chosen.words, [key, *chosen.family.values])
        if not rows:
            raise chosen.table.not_found(key, param=param)
        return rows[0][0]


def _values(chosen: Selection[Any], limit: int | None) -> list[object]:
    return [*chosen.family.values, *chosen.stretch.values, *chosen.wanted.values, limit]


class ReadOnce:
    """What is committed, for one transaction: each document is read once, the expected ones together, and those in `recent` not at all."""

    def __init__(self, reader: Reader, recent: Recent) -> None:
        self._reader = reader
        self._recent = recent
        self.docs: dict[Name, str | None] = {}
        """What was looked at; None: not there."""

    def expect(self, names: Iterable[Name]) -> None:
        """These will be asked for."""
        self._read(dict.fromkeys(names))

    def doc(self, cls: type[ApiObject], key: str) -> str | None:
        if (cls, key) not in self.docs:
            self._read([(cls, key)])
        return self.docs[cls, key]

    def keys(self, cls: type[ApiObject], parent: Equal) -> list[str]:
        return self._reader.keys(select(cls, parent))

    def _read(self, names: Iterable[Name]) -> None:
        self.docs.update(self._recent.find(names))
        unknown: dict[type[ApiObject], list[str]] = {}
        for cls, key in names:
            if (cls, key) not in self.docs:
                unknown.setdefault(cls, []).append(key)
        for cls, keys in unknown.items():
            found = self._reader.docs(cls, keys)
            self.docs.update({(cls, key): found.get(key) for key in keys})
