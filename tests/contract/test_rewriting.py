"""Text of deleted objects leaves the disk, and nothing else does."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from offline_assistants.domain.objects import Message, Text, TextPart, Thread
from offline_assistants.store.changes import Delete, DeleteChildren, Put, Update
from offline_assistants.store.duckdb_store import DuckDBStore

SECRET = "Zx81-quartz-lantern"


def a_message(name: str, *, thread_id: str = "thread_a", text: str = "") -> Message:
    return Message(id=name, created_at=1, thread_id=thread_id, role="user", content=[TextPart(text=Text(value=text))])


def files_with(text: str, directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


async def gone(text: str, directory: Path) -> bool:
    for _ in range(300):
        if not files_with(text, directory):
            return True
        await asyncio.sleep(0.02)
    return False


@pytest.fixture
async def secret(tmp_path: Path) -> AsyncIterator[Path]:
    """A database file, its log empty, in which a secret can be read among other messages: few, because among hundreds it would be compressed."""
    async with DuckDBStore.open(tmp_path) as store:
        await store.commit([Put(a_message(f"msg_{n}", text=f"word {n} " * 40)) for n in range(20)])
        await store.commit([Put(a_message("msg_secret", text=f"{SECRET} {'x' * 6000} {SECRET}"))])
    assert files_with(SECRET, tmp_path) == ["objects.duckdb"]
    yield tmp_path


async def test_deleted_text_leaves_the_disk_when_the_store_is_idle(secret: Path) -> None:
    async with DuckDBStore.open(secret, idle_after_s=0.02) as store:
        await store.commit([Delete(Message, "msg_secret")])

        assert await gone(SECRET, secret)
        assert await store.count(Message, parent={"thread_id": "thread_a"}) == 20


async def test_deleted_text_leaves_the_disk_of_a_store_that_is_never_idle(secret: Path) -> None:
    async with DuckDBStore.open(secret, idle_after_s=60, tidy_after_s=0.1) as store:
        await store.commit([Delete(Message, "msg_secret")])

        async def chat() -> None:
            for number in range(10_000):
                await store.commit([Put(a_message(f"msg_more_{number}"))])
                await asyncio.sleep(0.001)

        chatting = asyncio.create_task(chat())
        assert await gone(SECRET, secret)
        chatting.cancel()


async def test_deleted_text_is_gone_when_the_server_has_ended(secret: Path) -> None:
    async with DuckDBStore.open(secret) as store:
        await store.commit([DeleteChildren(Message, {"thread_id": "thread_a"}), Put(Thread(id="thread_b", created_at=1))])

    assert files_with(SECRET, secret) == []
    async with DuckDBStore.open(secret) as store:
        assert await store.get(Thread, "thread_b")
        assert await store.count(Message) == 0


async def test_deleted_text_is_remembered_over_a_crash(secret: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    crashed = tmp_path_factory.mktemp("crashed")
    async with DuckDBStore.open(secret, idle_after_s=60) as store:
        await store.commit([Delete(Message, "msg_secret")])
        for name in ("objects.duckdb", "objects.duckdb.wal"):
            shutil.copy(secret / name, crashed)
    assert files_with(SECRET, crashed)

    async with DuckDBStore.open(crashed, idle_after_s=0.02):
        assert await gone(SECRET, crashed)


@pytest.mark.timeout(60)
async def test_what_is_written_while_the_file_is_rewritten_is_in_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rng = random.Random(5)
    model: dict[str, str] = {}
    async with DuckDBStore.open(tmp_path, idle_after_s=0.001, tidy_after_s=0.01) as store:
        for number in range(600):
            name = f"msg_{rng.randrange(200)}"
            if name in model and rng.random() < 0.4:
                model.pop(name)
                await store.commit([Delete(Message, name)])
            elif name in model:
                model[name] = str(number)
                await store.commit([Update(Message, name, lambda old, word=str(number): a_message(old.id, text=word))])
            else:
                model[name] = str(number)
                await store.commit([Put(a_message(name, text=str(number)))])
            assert await store.count(Message, parent={"thread_id": "thread_a"}) == len(model)
        before = [message.id async for message in store.list_all(Message)]

    async with DuckDBStore.open(tmp_path) as store:
        messages = [message async for message in store.list_all(Message)]
    assert caplog.text.count("written anew") >= 3
    assert {message.id: message.content[0].text.value for message in messages} == model
    assert [message.id for message in messages] == before


async def test_a_copy_that_a_crash_left_unfinished_is_thrown_away(secret: Path) -> None:
    for name in ("objects.duckdb.copying", "objects.duckdb.copying.wal"):
        (secret / name).write_bytes(b"half")

    async with DuckDBStore.open(secret) as store:
        assert await store.count(Message) == 21
    assert files_with("half", secret) == []


async def test_a_copy_that_was_complete_takes_the_place_of_file_and_log(secret: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    old = tmp_path_factory.mktemp("old")
    async with DuckDBStore.open(secret, idle_after_s=60) as store:
        await store.commit([Delete(Message, "msg_secret"), Put(a_message("msg_last"))])
        for name in ("objects.duckdb", "objects.duckdb.wal"):
            shutil.copy(secret / name, old)
    (secret / "objects.duckdb").rename(old / "objects.duckdb.complete")

    async with DuckDBStore.open(old) as store:
        assert await store.get(Message, "msg_last")
        assert await store.count(Message) == 21
    assert sorted(path.name for path in old.iterdir()) == ["lock", "objects.duckdb"]
    assert files_with(SECRET, old) == []
