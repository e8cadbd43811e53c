"""One project's view of the store: what belongs to other projects does not exist in it. The only way from a route to the store.

    store.of("default") ... get, get_many, list_page, list_all, count, commit, update: as in duckdb_store.py

Projects own root objects (`RootObject`); children are found through their root. A new class of objects is either a RootObject with a table of `_roots`, or
has its root named in its table of `_children` (tables.py): nothing else is to be done for it, and a class that is neither cannot be reached from here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from offline_assistants.domain.objects import ApiObject, RootObject
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.store.changes import Change, Committed, Precondition, Update
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.reading import Order, Page
from offline_assistants.store.tables import TABLES, Equal, Name, T, root_of

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class ProjectStore:
    """Made for one request, so it may remember which roots are the project's: who asks for a thread and then for its messages pays for the first only."""

    def __init__(self, store: DuckDBStore, project: str) -> None:
        self._store = store
        self.project = project
        self._ours: set[Name] = set()

    def of(self, project: str) -> ProjectStore:
        """Another project's view of the same store."""
        return ProjectStore(self._store, project)

    async def get(self, cls: type[T], key: str) -> T | None:
        return (await self.get_many(cls, [key])).get(key)

    async def get_many(self, cls: type[T], keys: Iterable[str]) -> dict[str, T]:
        """Those that exist in the project, by key."""
        found = await self._store.get_many(cls, keys)
        ours = await self._only_ours(found.values())
        return {each.key: each for each in ours}

    async def list_page(
        self,
        cls: type[T],
        *,
        parent: Equal = _NOTHING,
        where: Mapping[str, str | None] = _NOTHING,
        limit: int = 20,
        order: Order = "desc",
        after: str | None = None,
        before: str | None = None,
    ) -> Page[T]:
        page = await self._store.list_page(cls, parent=self._within(cls, parent), where=where, limit=limit, order=order, after=after, before=before)
        items = await self._only_ours(page.items)
        return Page(items, has_more=page.has_more and bool(items))

    async def list_all(self, cls: type[T], *, parent: Equal = _NOTHING, where: Mapping[str, str | None] = _NOTHING) -> AsyncIterator[T]:
        async for each in self._store.list_all(cls, parent=self._within(cls, parent), where=where):
            for ours in await self._only_ours([each]):
                yield ours

    async def count(self, cls: type[ApiObject], *, parent: Equal = _NOTHING, where: Mapping[str, str | None] = _NOTHING) -> int:
        """Of children, those of one root: `parent` has to name it. Raises ValueError when it does not."""
        table = TABLES[cls]
        if table.root is None:
            return await self._store.count(cls, parent=self._within(cls, parent), where=where)
        if table.root_field not in parent:
            raise ValueError(f"{table.name} are counted by their {table.root_field}")
        is_ours = (table.root, parent[table.root_field]) in self._ours or await self.get(table.root, parent[table.root_field])
        return await self._store.count(cls, parent=parent, where=where) if is_ours else 0

    async def commit(self, changes: Sequence[Change[Any]], require: Sequence[Precondition] = ()) -> Committed:
        """As the store's; what is new becomes the project's."""
        return await self._store.commit(changes, require, project=self.project)

    async def update(self, cls: type[T], key: str, change: Callable[[T], T], *, missing: OfflineAssistantsError | None = None) -> T:
        update = Update(cls, key, change, missing)
        return (await self.commit([update]))[update]

    def _within(self, cls: type[ApiObject], parent: Equal) -> Equal:
        """`parent`, and for roots the project. Raises ValueError for children of all roots at once."""
        if issubclass(cls, RootObject):
            return {**parent, "project": self.project}
        if not parent:
            raise ValueError(f"{TABLES[cls].name} are listed by a parent")
        return parent

    async def _only_ours(self, objects: Iterable[T]) -> list[T]:
        found = list(objects)
        self._ours.update(root_of(each) for each in found if isinstance(each, RootObject) and each.project == self.project)
        unknown: dict[type[ApiObject], list[str]] = {}
        for cls, key in dict.fromkeys(root_of(each) for each in found if not isinstance(each, RootObject)):
            if (cls, key) not in self._ours:
                unknown.setdefault(cls, []).append(key)
        for cls, keys in unknown.items():
            await self.get_many(cls, keys)
        return [each for each in found if root_of(each) in self._ours]
