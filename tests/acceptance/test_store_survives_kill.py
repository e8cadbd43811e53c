"""A store whose process is killed with -9, again and again, loses nothing that was acknowledged. This file is also the program that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offline_assistants.domain.objects import Message, Thread
from offline_assistants.store.changes import Delete, Put, Update
from offline_assistants.store.duckdb_store import DuckDBStore

THREAD = Thread(id="thread_a", created_at=1, metadata={"count": "0"})
"""Its count is that of the messages: a transaction changes both or neither."""


@pytest.mark.timeout(120)
async def test_no_acknowledged_write_is_lost_and_none_is_half_done(tmp_path: Path) -> None:
    rng = random.Random(7)
    acknowledged: set[str] = set()
    deleted: set[str] = set()
    async with DuckDBStore.open(tmp_path) as store:
        await store.commit([Put(THREAD)])

    for _ in range(8):
        told = await told_before_kill(tmp_path, after_s=rng.uniform(0.05, 0.4))
        acknowledged |= {line[1:] for line in told if line.startswith("+")}
        deleted |= {line[1:] for line in told if line.startswith("-")}

        async with DuckDBStore.open(tmp_path) as store:
            messages = [message.id async for message in store.list_all(Message, parent={"thread_id": THREAD.id})]
            thread = await store.get(Thread, THREAD.id)

        # The deletion of a message may have happened without being told.
        missing = acknowledged - deleted - set(messages)
        assert {name for name in missing if not name.endswith("0")} == set()
        assert deleted.isdisjoint(messages)
        assert thread is not None
        assert thread.metadata["count"] == str(len(messages))
    assert len(acknowledged) > 100


async def told_before_kill(directory: Path, *, after_s: float) -> list[str]:
    """What a writer acknowledged between its first word and its end."""
    writer = await asyncio.create_subprocess_exec(sys.executable, __file__, str(directory), stdout=asyncio.subprocess.PIPE)
    assert writer.stdout is not None
    first = await writer.stdout.readline()
    await asyncio.sleep(after_s)
    writer.kill()
    rest = await writer.stdout.read()
    await writer.wait()
    complete = (first + rest).decode().rpartition("\n")[0]
    return complete.splitlines()


async def write_for_ever(directory: Path) -> None:
    """Put messages from 16 tasks, delete those whose name ends in 0, and say what is done when it is done."""
    async with DuckDBStore.open(directory, idle_after_s=0.001) as store:
        names = (f"msg_{random.randrange(2**62)}{number % 10}" for number in itertools.count())
        await asyncio.gather(*(write(store, names) for _ in range(16)))


async def write(store: DuckDBStore, names: Iterator[str]) -> None:
    for name in names:
        message = Message(id=name, created_at=1, thread_id=THREAD.id, role="user", metadata={"padding": "x" * 500})
        await store.commit([Put(message), Update(Thread, THREAD.id, lambda thread: counted(thread, 1))])
        print(f"+{name}", flush=True)
        if name.endswith("0"):
            await store.commit([Delete(Message, name), Update(Thread, THREAD.id, lambda thread: counted(thread, -1))])
            print(f"-{name}", flush=True)
            await asyncio.sleep(0.005)  # let the store be idle now and then, so that it is killed while it folds its log


def counted(thread: Thread, more: int) -> Thread:
    return thread.model_copy(update={"metadata": {"count": str(int(thread.metadata["count"]) + more)}})


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(write_for_ever(Path(sys.argv[1])))
