"""The store as projects see it: each its own objects, and nothing of the others'."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from offline_assistants.domain.objects import (
    ApiKey,
    Assistant,
    File,
    Message,
    RootObject,
    Run,
    RunStep,
    Thread,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
)
from offline_assistants.errors import NotFound
from offline_assistants.store.changes import Change, Delete, DeleteChildren, Exists, Lock, Put, Update
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.project_store import ProjectStore
from offline_assistants.store.tables import TABLES, load_migrations
from offline_assistants.store.vector_store_changes import AddFiles, CancelBatch, DeleteFile, DeleteStore, RemoveFile
from tests.contract.test_store import ONE_OF_EACH

OBJECTS = sorted((obj for obj in ONE_OF_EACH if not isinstance(obj, ApiKey)), key=lambda obj: not isinstance(obj, RootObject))
"""Roots first."""


@pytest.fixture
async def store() -> AsyncIterator[DuckDBStore]:
    async with DuckDBStore.open(None) as store:
        yield store


@pytest.fixture
async def ours(store: DuckDBStore) -> ProjectStore:
    """A project that has one object of each class."""
    ours = ProjectStore(store, "ours")
    await ours.commit([Put(obj) for obj in OBJECTS])
    return ours


@pytest.fixture
def theirs(ours: ProjectStore) -> ProjectStore:
    return ours.of("theirs")


def test_every_object_is_a_root_or_has_one() -> None:
    lost = [cls.__name__ for cls, table in TABLES.items() if cls is not ApiKey and issubclass(cls, RootObject) == (table.root is not None)]

    assert lost == []


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: type(obj).__name__)
async def test_an_object_is_seen_by_its_project_alone(ours: ProjectStore, theirs: ProjectStore, obj: Any) -> None:
    mine, other = await ours.get(type(obj), obj.key), await theirs.get(type(obj), obj.key)

    assert mine is not None and mine.wire() == obj.wire()
    assert other is None


@pytest.mark.parametrize("cls", [cls for cls in TABLES if issubclass(cls, RootObject)], ids=lambda cls: cls.__name__)
async def test_a_project_lists_and_counts_its_own(ours: ProjectStore, theirs: ProjectStore, cls: type[RootObject]) -> None:
    counts = [await ours.count(cls), await theirs.count(cls)]
    listed = [[each.id async for each in project.list_all(cls)] for project in (ours, theirs)]
    page = await theirs.list_page(cls)

    assert counts == [1, 0]
    assert (len(listed[0]), listed[1]) == (1, [])
    assert (page.items, page.has_more) == ([], False)


CHILDREN = [(Message, "thread_id", "thread_a"), (Run, "thread_id", "thread_a"), (RunStep, "run_id", "run_a"), (VectorStoreFile, "vector_store_id", "vs_a")]


@pytest.mark.parametrize(("cls", "column", "key"), CHILDREN)
async def test_children_are_listed_for_the_project_of_their_root_alone(ours: ProjectStore, theirs: ProjectStore, cls: Any, column: str, key: str) -> None:
    mine = await ours.list_page(cls, parent={column: key})
    others = await theirs.list_page(cls, parent={column: key}, limit=1)

    assert len(mine.items) == 1
    assert (others.items, others.has_more) == ([], False)
    assert [each async for each in theirs.list_all(cls, parent={column: key})] == []


async def test_children_are_counted_by_their_root(ours: ProjectStore, theirs: ProjectStore) -> None:
    counts = [await project.count(Message, parent={"thread_id": "thread_a"}) for project in (ours, theirs)]

    with pytest.raises(ValueError, match="counted by"):
        await ours.count(RunStep, parent={"run_id": "run_a"})
    assert counts == [1, 0]


async def test_children_of_all_threads_cannot_be_listed_at_once(ours: ProjectStore) -> None:
    with pytest.raises(ValueError, match="listed by a parent"):
        await ours.list_page(Message)


async def test_a_cursor_of_another_project_is_unknown(ours: ProjectStore, theirs: ProjectStore) -> None:
    [thread] = (await ours.list_page(Thread)).items

    with pytest.raises(NotFound):
        await theirs.list_page(Thread, after=thread.id)


REFUSED: dict[str, Callable[[], Change[Any]]] = {
    "update a root": lambda: Update(Thread, "thread_a", lambda thread: thread),
    "update a child": lambda: Update(Message, "msg_1", lambda message: message),
    "put a message": lambda: Put(Message(id="msg_x", created_at=1, thread_id="thread_a", role="user")),
    "lock a thread": lambda: Lock("thread_a", "run_x"),
    "add a file": lambda: AddFiles("vs_a", (VectorStoreFile(id="file-x", created_at=1, vector_store_id="vs_a", filename="a"),)),
    "remove a file": lambda: RemoveFile("vs_a/file-1"),
    "delete a file": lambda: DeleteFile("file-a"),
    "delete a store": lambda: DeleteStore("vs_a"),
    "cancel a batch": lambda: CancelBatch("vsfb_a"),
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
async def test_what_belongs_to_another_project_cannot_be_changed(ours: ProjectStore, theirs: ProjectStore, change: Callable[[], Change[Any]]) -> None:
    with pytest.raises(NotFound):
        await theirs.commit([change()])

    await ours.commit([change()])


async def test_deleting_what_belongs_to_another_project_does_nothing(ours: ProjectStore, theirs: ProjectStore, store: DuckDBStore) -> None:
    gone = DeleteChildren(Message, {"thread_id": "thread_a"})
    done = await theirs.commit([Delete(Thread, "thread_a"), gone, Delete(Message, "msg_1"), Delete(Assistant, "asst_a")])

    assert done[gone] == []
    assert [await store.count(cls) for cls in (Thread, Message, Assistant)] == [1, 1, 1]


async def test_a_project_deletes_a_thread_with_all_that_is_in_it(ours: ProjectStore, store: DuckDBStore) -> None:
    await ours.commit([Delete(Thread, "thread_a"), *(DeleteChildren(cls, {"thread_id": "thread_a"}) for cls in (Message, Run, RunStep))])

    assert [await store.count(cls) for cls in (Thread, Message, Run, RunStep)] == [0, 0, 0, 0]


async def test_a_precondition_does_not_see_other_projects(ours: ProjectStore, theirs: ProjectStore) -> None:
    message = Message(id="msg_x", created_at=1, thread_id="thread_x", role="user")
    with pytest.raises(NotFound, match="file-a"):
        await theirs.commit([Put(Thread(id="thread_x", created_at=1)), Put(message)], require=[Exists(File, "file-a")])

    await ours.commit([Put(Thread(id="thread_x", created_at=1)), Put(message)], require=[Exists(File, "file-a")])


@pytest.mark.timeout(30)
async def test_what_was_there_before_projects_belongs_to_the_default(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "objects.duckdb")) as old:
        old.execute(load_migrations()[1])
        old.execute("CREATE TABLE meta (name VARCHAR PRIMARY KEY, value BIGINT NOT NULL); INSERT INTO meta VALUES ('version', 1)")
        old.execute("INSERT INTO threads VALUES ('thread_old', 1, 1, ?)", [Thread(id="thread_old", created_at=1).model_dump_json(exclude={"project"})])

    async with DuckDBStore.open(tmp_path) as store:
        found = await ProjectStore(store, "default").get(Thread, "thread_old")
        other = await ProjectStore(store, "other").get(Thread, "thread_old")

    assert found is not None and found.project == "default"
    assert other is None


async def test_classes_of_vector_stores_are_owned_too(ours: ProjectStore, theirs: ProjectStore) -> None:
    found = [await ours.get_many(cls, [key]) for cls, key in ((VectorStore, "vs_a"), (VectorStoreFileBatch, "vsfb_a"))]

    assert [len(each) for each in found] == [1, 1]
    assert await theirs.get_many(VectorStoreFileBatch, ["vsfb_a"]) == {}
