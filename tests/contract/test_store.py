"""The store, in memory and on the disk."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import duckdb
import pytest

from offline_assistants.domain.chat_completions import ChatCompletion
from offline_assistants.domain.objects import (
    ApiKey,
    ApiObject,
    Assistant,
    File,
    FileCitation,
    FileCitationAnnotation,
    FunctionDefinition,
    FunctionTool,
    Message,
    Run,
    RunStep,
    Text,
    TextPart,
    Thread,
    ToolCallsDetails,
    Upload,
    UploadPart,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
)
from offline_assistants.errors import NotFound, RequestError, RunIsActive, StoreError, StoreFull
from offline_assistants.store.changes import Delete, DeleteChildren, Exists, Holds, Lock, NotLocked, Put, TakeOver, Unlock, Update
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.tables import TABLES, ActiveRun, load_migrations


@pytest.fixture(params=["memory", "disk"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DuckDBStore]:
    async with DuckDBStore.open(tmp_path / "store" if request.param == "disk" else None) as store:
        yield store


def a_message(number: int, *, thread_id: str = "thread_a", text: str = "", run_id: str | None = None) -> Message:
    content = [TextPart(text=Text(value=text))]
    return Message(id=f"msg_{number}", created_at=1_700_000_000, thread_id=thread_id, role="user", content=content, run_id=run_id)


def a_run(name: str, *, thread_id: str = "thread_a") -> Run:
    return Run(id=name, created_at=1, assistant_id="asst_a", thread_id=thread_id, expires_at=None, model="m")


def a_file(number: int, *, status: str = "completed") -> VectorStoreFile:
    return VectorStoreFile.model_validate({"id": f"file-{number}", "created_at": 1, "vector_store_id": "vs_a", "status": status, "filename": "a.txt"})


def counted(message: Message) -> Message:
    return message.model_copy(update={"metadata": {"count": str(int(message.metadata.get("count", "0")) + 1)}})


async def ids(store: DuckDBStore, **asked: object) -> list[str]:
    page = await store.list_page(Message, **asked)  # type: ignore[arg-type]
    return [message.id.removeprefix("msg_") for message in page.items] + (["more"] if page.has_more else [])


# ── Objects ──────────────────────────────────────────────────────────────────────────────────────────────────────────

ONE_OF_EACH: list[ApiObject] = [
    Assistant(id="asst_a", created_at=1, model="m", tools=[FunctionTool(function=FunctionDefinition(name="f", parameters={"type": "object", "x": [1, None]}))]),
    Thread(id="thread_a", created_at=1, metadata={"k": "v"}),
    a_message(1, text="hello"),
    a_run("run_a"),
    RunStep(id="step_a", created_at=1, run_id="run_a", assistant_id="asst_a", thread_id="thread_a", type="tool_calls", step_details=ToolCallsDetails()),
    File(id="file-a", bytes=3, created_at=1, filename="a.txt", purpose="assistants", digest="0" * 64),
    VectorStore(id="vs_a", created_at=1),
    a_file(1),
    VectorStoreFileBatch(id="vsfb_a", created_at=1, vector_store_id="vs_a"),
    Upload(id="upload_a", bytes=1, created_at=1, expires_at=2, filename="a", purpose="assistants", mime_type="text/plain"),
    UploadPart(id="part_a", created_at=1, upload_id="upload_a", num_bytes=1, digest="a"),
    ChatCompletion.model_validate(
        {
            "id": "chatcmpl_a",
            "created": 1,
            "model": "m",
            "choices": [],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            "system_fingerprint": "a",
            "x_model_file": "a",
        }
    ),
    ApiKey(id="key_a", created_at=1, project="default", hint="sk-oa-abcd...wxyz", digest="0" * 64),
]


@pytest.mark.parametrize("obj", ONE_OF_EACH, ids=lambda obj: type(obj).__name__)
async def test_every_object_comes_back_as_it_was_put(store: DuckDBStore, obj: ApiObject) -> None:
    await store.commit([Put(obj)])

    assert await store.get(type(obj), obj.key) == obj
    assert await store.count(type(obj)) == 1


def test_every_object_has_a_table() -> None:
    assert set(TABLES) == {type(obj) for obj in ONE_OF_EACH} | {ActiveRun}


@pytest.mark.parametrize(
    "text", ["", "naïve 日本語 👩‍👩‍👧 \u202eright to left", "a\x00b", "'; DROP TABLE messages; --", "x" * 2**20], ids=["empty", "unicode", "nul", "sql", "1 MB"]
)
async def test_texts_come_back_character_by_character(store: DuckDBStore, text: str) -> None:
    await store.commit([Put(a_message(1, text=text, thread_id=text[:100]))])

    page = await store.list_page(Message, parent={"thread_id": text[:100]})

    assert page.items == [a_message(1, text=text, thread_id=text[:100])]


@pytest.mark.parametrize("attributes", [{"n": float("inf")}, {"n": float("nan")}], ids=["infinite", "nan"])
async def test_what_could_not_be_read_again_is_refused(store: DuckDBStore, attributes: dict[str, float]) -> None:
    with pytest.raises(RequestError):
        await store.commit([Put(a_file(1).model_copy(update={"attributes": attributes}))])

    assert await store.count(VectorStoreFile) == 0


@pytest.mark.parametrize("parameters", [{"x": "\ud800"}, {}], ids=["half a character", "too deep"])
async def test_json_that_could_not_be_read_again_is_refused(store: DuckDBStore, parameters: dict[str, object]) -> None:
    if not parameters:
        for _ in range(240):
            parameters = {"x": parameters}
    assistant = Assistant(id="asst_a", created_at=1, model="m", tools=[FunctionTool(function=FunctionDefinition(name="f", parameters=parameters))])

    with pytest.raises(RequestError):
        await store.commit([Put(assistant)])


async def test_what_is_not_there_is_none(store: DuckDBStore) -> None:
    await store.commit([Put(a_message(1))])

    assert await store.get(Message, "msg_2") is None
    assert await store.get_many(Message, ["msg_2", "msg_1"]) == {"msg_1": a_message(1)}
    assert await store.get_many(Message, []) == {}


async def test_thousands_are_read_at_once(store: DuckDBStore) -> None:
    messages = [a_message(number) for number in range(3000)]
    await store.commit([Put(message) for message in messages])

    found = await store.get_many(Message, [message.id for message in messages])

    assert len(found) == 3000
    assert [message async for message in store.list_all(Message)] == messages


# ── Pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def seven() -> AsyncIterator[DuckDBStore]:
    """Messages 1 to 7 of one thread, all of the same second, among those of another."""
    async with DuckDBStore.open(None) as store:
        for number in range(1, 8):
            await store.commit([Put(a_message(number, run_id="run_odd" if number % 2 else None)), Put(a_message(number + 100, thread_id="thread_b"))])
        yield store


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"order": "asc"}, "1 2 3 4 5 6 7"),
        ({"order": "desc"}, "7 6 5 4 3 2 1"),
        ({"order": "asc", "limit": 7}, "1 2 3 4 5 6 7"),
        ({"order": "asc", "limit": 3}, "1 2 3 more"),
        ({"order": "desc", "limit": 3}, "7 6 5 more"),
        ({"order": "asc", "limit": 2, "after": "msg_3"}, "4 5 more"),
        ({"order": "desc", "limit": 2, "after": "msg_3"}, "2 1"),
        ({"order": "asc", "limit": 2, "before": "msg_3"}, "1 2"),
        ({"order": "asc", "limit": 2, "before": "msg_5"}, "3 4 more"),
        ({"order": "desc", "limit": 2, "before": "msg_3"}, "5 4 more"),
        ({"order": "desc", "limit": 9, "before": "msg_6"}, "7"),
        ({"order": "asc", "limit": 2, "after": "msg_2", "before": "msg_6"}, "3 4 more"),
        ({"order": "desc", "limit": 9, "after": "msg_6", "before": "msg_2"}, "5 4 3"),
        ({"order": "asc", "after": "msg_7"}, ""),
        ({"order": "asc", "limit": 2, "where": {"run_id": "run_odd"}}, "1 3 more"),
        ({"order": "desc", "limit": 2, "where": {"run_id": "run_odd"}, "after": "msg_6"}, "5 3 more"),
        ({"order": "asc", "where": {"run_id": None}}, "2 4 6"),
        ({"order": "asc", "where": {"run_id": "no such run"}}, ""),
    ],
    ids=str,
)
async def test_a_page_holds_what_was_asked_for(seven: DuckDBStore, asked: dict[str, object], expected: str) -> None:
    assert await ids(seven, parent={"thread_id": "thread_a"}, **asked) == expected.split()


@pytest.mark.parametrize("param", ["after", "before"])
@pytest.mark.parametrize("cursor", ["msg_99", "msg_101"], ids=["of nothing", "of another thread"])
async def test_an_unknown_cursor_is_not_found(seven: DuckDBStore, param: str, cursor: str) -> None:
    with pytest.raises(NotFound, match=f"No message found with id '{cursor}'") as caught:
        await ids(seven, parent={"thread_id": "thread_a"}, **{param: cursor})

    assert caught.value.param == param


async def test_a_changed_object_keeps_its_place(seven: DuckDBStore) -> None:
    await seven.commit([Put(counted(a_message(3)))])
    await seven.update(Message, "msg_5", counted)

    assert await ids(seven, parent={"thread_id": "thread_a"}, order="asc") == ["1", "2", "3", "4", "5", "6", "7"]


async def test_an_object_that_was_deleted_and_put_again_is_the_newest(seven: DuckDBStore) -> None:
    await seven.commit([Delete(Message, "msg_2"), Put(a_message(2))])
    await seven.commit([Delete(Message, "msg_4")])
    await seven.commit([Put(a_message(4))])

    assert await ids(seven, parent={"thread_id": "thread_a"}, order="asc") == ["1", "3", "5", "6", "7", "2", "4"]


async def test_parents_and_fields_choose_what_is_counted_and_listed(store: DuckDBStore) -> None:
    await store.commit(
        [Put(a_file(number, status="failed" if number < 3 else "completed").model_copy(update={"batch_id": f"b{number}"})) for number in range(8)]
    )

    assert await store.count(VectorStoreFile, where={"status": "failed"}) == 3
    assert await store.count(VectorStoreFile, parent={"vector_store_id": "vs_b"}) == 0
    assert [file.id async for file in store.list_all(VectorStoreFile, parent={"file_id": "file-5"})] == ["file-5"]
    assert [file.id async for file in store.list_all(VectorStoreFile, parent={"batch_id": "b1"}, where={"status": "failed"})] == ["file-1"]


async def test_a_filter_that_does_not_exist_is_a_mistake(store: DuckDBStore) -> None:
    with pytest.raises(ValueError, match="no column"):
        await store.count(Message, parent={"run_id": "x"})
    with pytest.raises(ValueError, match="no field"):
        await store.count(Message, where={"x') OR true --": "x"})


# ── Commits ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_commit_does_all_or_nothing(store: DuckDBStore) -> None:
    with pytest.raises(NotFound, match="No run found with id 'run_x'"):
        await store.commit([Put(a_message(1)), Lock("thread_a", "run_a"), Update(Run, "run_x", lambda run: run)])

    assert await store.get(Message, "msg_1") is None
    await store.commit([Lock("thread_a", "run_b")])


async def test_changes_see_those_before_them(store: DuckDBStore) -> None:
    done = await store.commit(
        [
            Put(a_message(1)),
            Put(a_message(2)),
            Update(Message, "msg_1", counted),
            second := Update(Message, "msg_1", counted),
            gone := DeleteChildren(Message, {"thread_id": "thread_a"}),
            Put(a_message(3)),
        ]
    )

    assert done[second].metadata == {"count": "2"}
    assert done[gone] == ["msg_1", "msg_2"]
    assert await ids(store) == ["3"]


async def test_only_the_request_whose_precondition_fails_is_refused(store: DuckDBStore) -> None:
    refusal = RequestError("no such thread")
    requests = [store.commit([Put(a_message(number))], [Exists(Thread, "thread_a", refusal)] if number == 5 else []) for number in range(10)]

    outcomes = await asyncio.gather(*requests, return_exceptions=True)

    assert [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Exception)] == [5]
    assert outcomes[5] is refusal
    assert await store.count(Message) == 9


async def test_of_many_runs_one_gets_the_thread(store: DuckDBStore) -> None:
    def busy(holder: str) -> RequestError:
        return RunIsActive(f"busy with {holder}")

    async def start(name: str) -> str:
        try:
            await store.commit([Put(a_run(name)), Lock("thread_a", name)], [NotLocked("thread_a", busy)])
        except RunIsActive as error:
            return error.message
        return name

    outcomes = await asyncio.gather(*(start(f"run_{number}") for number in range(20)))

    (winner,) = await store.active_runs()
    assert sorted(outcomes) == sorted([winner.id] + [f"busy with {winner.id}"] * 19)
    assert await store.count(Run) == 1


async def test_a_thread_can_be_locked_again_when_its_run_has_ended(store: DuckDBStore) -> None:
    await store.commit([Put(a_run("run_a")), Lock("thread_a", "run_a")])
    with pytest.raises(RunIsActive):
        await store.commit([Put(a_run("run_b")), Lock("thread_a", "run_b")])
    await store.commit([Unlock("thread_a")])
    await store.commit([Put(a_run("run_b")), Lock("thread_a", "run_b"), Put(a_run("run_c", thread_id="thread_c")), Lock("thread_c", "run_c")])

    assert [run.id for run in await store.active_runs()] == ["run_b", "run_c"]


async def test_a_run_that_is_taken_over_takes_nothing_from_its_writer_before(store: DuckDBStore) -> None:
    stale = RequestError("stale")
    await store.commit([Put(a_run("run_a")), Lock("thread_a", "run_a")])
    epochs = await store.commit([second := TakeOver("thread_a", "run_a")], [Holds("thread_a", "run_a", 0, stale)])

    with pytest.raises(RequestError, match="stale"):
        await store.commit([Put(a_message(1))], [Holds("thread_a", "run_a", 0, stale)])
    with pytest.raises(NotFound):
        await store.commit([TakeOver("thread_a", "run_b")])

    assert epochs[second] == 1
    await store.commit([Put(a_message(1)), Unlock("thread_a")], [Holds("thread_a", "run_a", 1, stale)])
    with pytest.raises(RequestError, match="stale"):
        await store.commit([Put(a_message(2))], [Holds("thread_a", "run_a", 1, stale)])


async def test_no_update_is_lost_among_64_writers(store: DuckDBStore) -> None:
    await store.commit([Put(a_message(0))])

    async def write(writer: int) -> None:
        for turn in range(10):
            await store.commit([Update(Message, "msg_0", counted), Put(a_message(writer * 10 + turn + 1, thread_id=f"thread_{writer}"))])

    await asyncio.gather(*(write(writer) for writer in range(64)))

    assert await store.get(Message, "msg_0") == a_message(0).model_copy(update={"metadata": {"count": "640"}})
    assert await store.count(Message) == 641
    assert await ids(store, parent={"thread_id": "thread_7"}, order="asc") == [str(number) for number in range(71, 81)]


async def test_what_a_change_raises_reaches_its_caller_alone(store: DuckDBStore) -> None:
    def refuse(_: Message) -> Message:
        raise ZeroDivisionError

    await store.commit([Put(a_message(1))])

    outcomes = await asyncio.gather(
        store.update(Message, "msg_1", counted), store.update(Message, "msg_1", refuse), store.update(Message, "msg_1", counted), return_exceptions=True
    )

    assert isinstance(outcomes[1], ZeroDivisionError)
    assert (await store.get(Message, "msg_1")) == counted(counted(a_message(1)))


async def test_only_the_guilty_request_of_a_batch_fails_when_the_database_refuses_it(store: DuckDBStore) -> None:
    await store.commit([Put(a_message(1))])
    moved = a_message(1, thread_id="thread_b")

    outcomes = await asyncio.gather(*(store.commit([Put(moved if number == 3 else a_message(number + 10))]) for number in range(6)), return_exceptions=True)

    assert [number for number, outcome in enumerate(outcomes) if isinstance(outcome, StoreError)] == [3]
    assert await store.get(Message, "msg_1") == a_message(1)
    assert await store.count(Message) == 6


async def test_an_update_cannot_move_an_object_to_another_parent(store: DuckDBStore) -> None:
    await store.commit([Put(a_message(1))])

    with pytest.raises(ValueError, match="thread_id"):
        await store.update(Message, "msg_1", lambda _: a_message(1, thread_id="thread_b"))


async def test_a_cancelled_caller_disturbs_nobody(store: DuckDBStore) -> None:
    cancelled = asyncio.create_task(store.commit([Put(a_message(1))]))
    await asyncio.sleep(0)
    cancelled.cancel()

    await store.commit([Put(a_message(2))])

    assert await store.get(Message, "msg_2") == a_message(2)


async def test_deleting_what_is_not_there_is_no_error(store: DuckDBStore) -> None:
    done = await store.commit([Delete(Message, "msg_1"), Unlock("thread_a"), gone := DeleteChildren(Message, {"thread_id": "thread_a"})])

    assert done[gone] == []


# ── The file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_everything_is_there_after_closing_and_opening(tmp_path: Path) -> None:
    async with DuckDBStore.open(tmp_path) as store:
        await store.commit([Put(a_message(number)) for number in range(3)] + [Put(a_run("run_a")), Lock("thread_a", "run_a")])
    async with DuckDBStore.open(tmp_path) as store:
        await store.commit([Put(a_message(3))])

        assert await ids(store, order="asc") == ["0", "1", "2", "3"]
        assert await store.active_runs() == [a_run("run_a")]


async def test_waiting_commits_are_carried_out_before_the_store_closes(tmp_path: Path) -> None:
    async with DuckDBStore.open(tmp_path) as store:
        waiting = [asyncio.create_task(store.commit([Put(a_message(number))])) for number in range(100)]
        await asyncio.sleep(0)

    await asyncio.gather(*waiting)
    async with DuckDBStore.open(tmp_path) as store:
        assert await store.count(Message) == 100


async def test_a_closed_store_says_so() -> None:
    async with DuckDBStore.open(None) as store:
        pass

    with pytest.raises(StoreError, match="closed"):
        await store.get(Message, "msg_1")
    with pytest.raises(StoreError, match="closed"):
        await store.commit([Put(a_message(1))])


async def test_only_its_user_can_look_into_the_directory(tmp_path: Path) -> None:
    async with DuckDBStore.open(tmp_path / "store"):
        assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700


async def test_a_second_process_is_told_who_holds_the_store(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from offline_assistants.store.duckdb_store import DuckDBStore\n"
        "async def main():\n"
        "    async with DuckDBStore.open(Path(sys.argv[1])):\n"
        "        print('open', flush=True); sys.stdin.read()\n"
        "asyncio.run(main())"
    )
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert await other.stdout.readline() == b"open\n"

    with pytest.raises(StoreError, match=rf"\(PID {other.pid}\) holds the store in {tmp_path}"):
        async with DuckDBStore.open(tmp_path):
            pass
    await other.communicate(b"")


async def test_a_second_store_in_the_same_process_is_refused(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(DuckDBStore.open(tmp_path))

        with pytest.raises(StoreError):
            await stack.enter_async_context(DuckDBStore.open(tmp_path))


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with DuckDBStore.open(tmp_path):
        pass
    with duckdb.connect(str(tmp_path / "objects.duckdb")) as connection:
        connection.execute("UPDATE meta SET value = 999 WHERE name = 'version'")

    with pytest.raises(StoreError, match="newer version"):
        async with DuckDBStore.open(tmp_path):
            pass


async def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "objects.duckdb").write_bytes(b"no database" * 10_000)

    with pytest.raises(StoreError):
        async with DuckDBStore.open(tmp_path):
            pass


def test_migrations_are_numbered_from_one_without_gaps() -> None:
    migrations = load_migrations()

    assert list(migrations) == list(range(1, len(migrations) + 1))


async def test_nothing_new_is_accepted_on_a_full_disk(tmp_path: Path) -> None:
    async with DuckDBStore.open(tmp_path) as store:
        await store.commit([Put(a_message(1)), Put(a_message(2))])
    async with DuckDBStore.open(tmp_path, min_free_bytes=2**62) as store:
        with pytest.raises(StoreFull):
            await store.commit([Put(a_message(3))])
        await store.update(Message, "msg_1", counted)
        await store.commit([Delete(Message, "msg_2")])

        assert await ids(store) == ["1"]


DISK_THAT_FAILS = """
import asyncio, base64, random, resource, signal, sys
from pathlib import Path
from offline_assistants.domain.objects import Message, Text, TextPart, Thread
from offline_assistants.errors import StoreError
from offline_assistants.store.changes import Put
from offline_assistants.store.duckdb_store import DuckDBStore

def texts(first, last):
    for n in range(first, last):
        text = base64.b85encode(random.randbytes(800_000)).decode()
        yield Put(Message(id=f"msg_{n}", created_at=1, thread_id="t", role="user", content=[TextPart(text=Text(value=text))]))

async def main():
    ended = asyncio.Event()
    async with DuckDBStore.open(Path(sys.argv[1])) as store:
        await store.commit(list(texts(0, 12)))
    async with DuckDBStore.open(Path(sys.argv[1]), idle_after_s=0.01, on_fatal=lambda _: ended.set()) as store:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000_000, 8_000_000))
        await store.commit(list(texts(12, 18)))
        await ended.wait()
        for request in (store.commit([Put(Thread(id="thread_x", created_at=1))]), store.get(Message, "msg_1")):
            try:
                await request
            except StoreError as error:
                print(type(error.__cause__).__name__)

asyncio.run(main())
"""


async def test_after_a_fatal_error_everyone_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    """A limit on the size of files stands for a disk that refuses the checkpoint, from which the database cannot recover."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", DISK_THAT_FAILS, str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, _ = await process.communicate()

    assert stdout.split() == [b"FatalException", b"FatalException"]
    async with DuckDBStore.open(tmp_path) as store:
        assert await store.count(Message) == 18


@pytest.mark.parametrize(
    "statement",
    [
        "INSTALL fts",
        "INSTALL fts FROM community",
        "LOAD fts",
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY messages TO '/tmp/stolen.csv'",
        "ATTACH '/tmp/other.duckdb'",
        "SELECT * FROM read_csv('https://example.com/a.csv')",
        "SET enable_external_access = true",
        "SET autoinstall_known_extensions = true",
    ],
)
async def test_the_database_can_reach_neither_the_network_nor_other_files(store: DuckDBStore, statement: str) -> None:
    with pytest.raises(duckdb.Error, match=r"disabled|locked|Cannot"):
        store._database.read(statement)


@pytest.mark.parametrize("key", ["plain", "a.b", "a/b", "a~b", "~1", "0", "", " ", "'\"", "日本", "x') OR true --"])
async def test_objects_are_listed_by_what_is_in_a_field_whatever_its_key(store: DuckDBStore, key: str) -> None:
    for number, metadata in enumerate([{key: "yes"}, {key: "no"}, {}, {key + "x": "yes"}]):
        await store.commit([Put(Thread(id=f"thread_{number}", created_at=1, metadata=metadata))])

    page = await store.list_page(Thread, where={f"metadata.{key}": "yes"})

    assert [thread.id for thread in page.items] == ["thread_0"]


def test_a_citation_of_before_has_its_start_under_the_name_of_today() -> None:
    sql = load_migrations()[6]
    citation = FileCitation(file_id="file-a", quote='"quote_start":7', start_char=12)
    annotation = FileCitationAnnotation(text="【0:0†source】", start_index=0, end_index=12, file_citation=citation)
    message = a_message(1).model_copy(update={"content": [TextPart(text=Text(value="", annotations=[annotation]))], "metadata": {"quote_start": "7"}})
    before = message.model_dump_json().replace('"start_char"', '"quote_start"')

    with duckdb.connect() as database:
        database.execute("CREATE TABLE messages (doc VARCHAR)")
        database.execute("INSERT INTO messages VALUES (?)", [before])
        database.execute(sql)
        [[after]] = database.execute("SELECT doc FROM messages").fetchall()

    assert Message.model_validate_json(after) == message
