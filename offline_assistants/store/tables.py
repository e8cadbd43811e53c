"""Which table keeps which objects, and the SQL that is said to it. Knows nothing of threads, transactions or the database's library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from types import MappingProxyType
from typing import Generic, TypeVar

from offline_assistants.domain.chat_completions import ChatCompletion
from offline_assistants.domain.objects import (
    ApiKey,
    ApiObject,
    Assistant,
    File,
    Message,
    RootObject,
    Run,
    RunStep,
    Thread,
    Upload,
    UploadPart,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
)
from offline_assistants.errors import NotFound

T = TypeVar("T", bound=ApiObject)
Name = tuple[type[ApiObject], str]
"""An object's class and key."""
Equal = Mapping[str, str]
"""Column -> the value asked for."""


class ActiveRun(ApiObject):
    """The run that holds a thread; its id is the thread's."""

    run_id: str
    epoch: int = 0
    """Which of the run's writers may change it: each start of the server that takes the run up is one."""


@dataclass(frozen=True)
class Table:
    name: str
    noun: str
    """What error texts call one of its objects."""
    columns: Mapping[str, str]
    """Column -> the field it repeats. None of these ever changes."""
    root: type[RootObject] | None = None
    """What its objects belong to, if they are children."""
    root_field: str = "id"
    """Where a child has its root's id."""

    def values_of(self, obj: ApiObject) -> tuple[object, ...]:
        """What the columns hold for an object."""
        return tuple(getattr(obj, field) for field in self.columns.values())

    def belongs(self, obj: ApiObject, parent: Equal) -> bool:
        return all(getattr(obj, self.columns[column]) == value for column, value in parent.items())

    def not_found(self, key: str, *, param: str | None = None) -> NotFound:
        return NotFound(f"No {self.noun} found with id '{key.rpartition('/')[2]}'.", param=param)

    @cached_property
    def words(self) -> dict[str, str]:
        """What fills the braces of a statement about this table."""
        return {"table": self.name, "columns": ", ".join(self.columns)}

    @cached_property
    def one_row(self) -> str:
        """The source of an insert that is given the values of one object. Planned in half the time of the same with lists."""
        return f"VALUES ({', '.join('?' for _ in self._types)})"

    @cached_property
    def many_rows(self) -> str:
        """The source of an insert that is given a list for each column: 64 objects so take 5 ms, one by one 200 ms."""
        return "SELECT " + ", ".join(f"unnest(?::{sql_type}[])" for sql_type in self._types)

    @property
    def _types(self) -> list[str]:
        return ["VARCHAR", "BIGINT", *("BIGINT" if column == "created_at" else "VARCHAR" for column in self.columns), "VARCHAR"]


def _roots(name: str, noun: str, *, created: str = "created_at") -> Table:
    return Table(name, noun, {"created_at": created, "project": "project"})


def _children(name: str, noun: str, root: type[RootObject], *parents: str) -> Table:
    """The first of `parents` holds the id of the root."""
    columns = {"created_at": "created_at"} | {parent: "id" if parent == "file_id" else parent for parent in parents}
    return Table(name, noun, columns, root, parents[0])


TABLES: Mapping[type[ApiObject], Table] = {
    Assistant: _roots("assistants", "assistant"),
    Thread: _roots("threads", "thread"),
    Message: _children("messages", "message", Thread, "thread_id"),
    Run: _children("runs", "run", Thread, "thread_id"),
    RunStep: _children("run_steps", "run step", Thread, "thread_id", "run_id"),
    File: _roots("files", "file"),
    Upload: _roots("uploads", "upload"),
    UploadPart: _children("upload_parts", "upload part", Upload, "upload_id"),
    VectorStore: _roots("vector_stores", "vector store"),
    VectorStoreFile: _children("vector_store_files", "vector store file", VectorStore, "vector_store_id", "file_id", "batch_id"),
    VectorStoreFileBatch: _children("vector_store_file_batches", "vector store file batch", VectorStore, "vector_store_id"),
    ChatCompletion: _roots("chat_completions", "chat completion", created="created"),
    ActiveRun: Table("active_runs", "active run", {"run_id": "run_id"}, Thread),
    ApiKey: Table("api_keys", "API key", {"created_at": "created_at"}),
}


def root_of(obj: ApiObject) -> Name:
    """The object itself, or what it is a child of. Raises ValueError for what belongs to no project."""
    if isinstance(obj, RootObject):
        return type(obj), obj.key
    table = TABLES[type(obj)]
    if table.root is None:
        raise ValueError(f"{table.name} belong to no project")
    return table.root, getattr(obj, table.root_field)


UNINDEXED = frozenset({"created_at", "project"})
"""Columns without an index: who asks by these alone, or by none, means most of a table."""


@dataclass(frozen=True)
class Condition:
    """Which rows are meant."""

    sql: str = "true"
    values: tuple[object, ...] = ()

    def also(self, sql: str, *values: object) -> Condition:
        return Condition(f"{self.sql} AND {sql}", (*self.values, *values))


@dataclass(frozen=True)
class Selection(Generic[T]):
    """Objects of a class: the `family` by columns, and of it those that are `wanted` by what is in their documents."""

    cls: type[T]
    family: Condition
    wanted: Condition
    is_indexed: bool
    """Whether the family is found by an index; otherwise it is most of the table."""
    stretch: Condition = Condition()
    """Which places."""

    @property
    def table(self) -> Table:
        return TABLES[self.cls]

    @property
    def words(self) -> dict[str, str]:
        """What fills the braces of a statement about these objects."""
        names = {"family": self.family.sql, "wanted": self.wanted.sql, "stretch": self.stretch.sql}
        if self.is_indexed:
            opened = f"WITH family AS MATERIALIZED (SELECT seq, doc FROM {self.table.name} WHERE {self.family.sql})"  # noqa: S608 our own names
            return self.table.words | names | {"open_family": opened, "members": "family WHERE true"}
        return self.table.words | names | {"open_family": "", "members": f"{self.table.name} WHERE {self.family.sql}"}

    def within(self, sql: str, value: object) -> Selection[T]:
        """Of these, those at some places only."""
        return replace(self, stretch=self.stretch.also(sql, value))


def select(cls: type[T], parent: Equal, where: Mapping[str, str | None] = MappingProxyType({})) -> Selection[T]:
    """`parent` compares columns, `where` top-level fields (None: null or absent) and what is in them: "metadata.KEY", whatever the key is.

    Raises ValueError for names that there are not.
    """
    family = wanted = Condition()
    for column, value in parent.items():
        if column not in TABLES[cls].columns:
            raise ValueError(f"{TABLES[cls].name} has no column {column}")
        family = family.also(f"{column} = ?", value)
    for name, value in where.items():
        field, inside, key = name.partition(".")
        if field not in cls.model_fields:
            raise ValueError(f"{cls.__name__} has no field {field}")
        if inside:
            # A key comes from a client: as a parameter, and as a JSON pointer, in which any character can be written.
            pointer = f"/{field}/{key.replace('~', '~0').replace('/', '~1')}"
            wanted = wanted.also("json_extract_string(doc, ?) IS NOT DISTINCT FROM ?", pointer, value)
        else:
            wanted = wanted.also(f"json_extract_string(doc, '$.{field}') IS NOT DISTINCT FROM ?", value)
    return Selection(cls, family, wanted, is_indexed=not UNINDEXED.issuperset(parent))


def load_statements() -> dict[str, str]:
    """Name -> SQL, from statements.sql."""
    text = (files(__package__ or "") / "statements.sql").read_text(encoding="utf-8")
    named = (part.partition("\n") for part in text.split("-- name: ")[1:])
    # Without the comments, which the database would read each time.
    return {name.strip(): re.sub(r"^--.*\n", "", sql, flags=re.MULTILINE).strip() for name, _, sql in named}


def load_migrations() -> dict[int, str]:
    """Number -> SQL, in order, from migrations/NNNN_name.sql."""
    found = sorted((entry for entry in (files(__package__ or "") / "migrations").iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return {int(entry.name[:4]): entry.read_text(encoding="utf-8") for entry in found}
