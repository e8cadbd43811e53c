"""Measures what the store costs a client: durable messages beside the same insert in SQLite, and pages and look-ups in a store of a million messages.

Servers and load generators are processes of their own. Run as a program, this file is one of them: `serve` or `load`.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from bench_child import START_TIMEOUT_S, child_server

from offline_assistants.bootstrap import build_app
from offline_assistants.domain.objects import Message, Text, TextPart, Thread
from offline_assistants.server import listen, serve
from offline_assistants.settings import Settings
from offline_assistants.store.changes import Put
from offline_assistants.store.database import Database, translated
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.testing.hash_documents import HashDocuments
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox

ROUNDS = 5
"""Of each of two that are compared, in turn, so that what else the machine does meets both."""
ROUND_S = 1.5
READS_PER_ROUND = 100
MESSAGES_PER_THREAD = 50
WORDS = "What a person writes to an assistant is about as long as this sentence and the one that comes after it, of which there is no need to say more. "
FEW, MANY = 10_000, 1_000_000


def measure_inserts(clients: Sequence[int]) -> dict[int, float]:
    """By number of clients: messages a second that are on the disk when they are acknowledged, as a share of what SQLite brings behind the same app."""
    with _serving("duckdb") as ours, _serving("sqlite") as theirs:
        return {number: _ratio(ours, theirs, number) for number in clients}


def _ratio(ours: _Server, theirs: _Server, num_clients: int) -> float:
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS):
        for name, server in (("ours", ours), ("theirs", theirs)):
            rates[name].append(_load(server, "insert", str(num_clients), str(ROUND_S)))
    return statistics.median(rates["ours"]) / statistics.median(rates["theirs"])


def measure_reads() -> tuple[float, float]:
    """How many times as long a page of 20 messages, and a look-up of one, take (p50) with a million messages in the store as with ten thousand."""
    with _serving("duckdb", num_messages=FEW) as small, _serving("duckdb", num_messages=MANY) as large:
        times: dict[tuple[str, int], list[float]] = {}
        for _ in range(ROUNDS):
            for what in ("page", "retrieve"):
                for size, server in ((FEW, small), (MANY, large)):
                    times.setdefault((what, size), []).append(_load(server, what, str(size), str(READS_PER_ROUND)))
        page, retrieve = (statistics.median(times[what, MANY]) / statistics.median(times[what, FEW]) for what in ("page", "retrieve"))
        return page, retrieve


def _load(server: _Server, *arguments: str) -> float:
    """What a load generator measured, in a process of its own. Raises RuntimeError when the server did not answer as it should."""
    command = [sys.executable, __file__, "load", str(server.port), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator failed:\n{done.stderr}")
    return float(done.stdout)


# ── The load ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Connection:
    """HTTP/1.1 as far as it is needed, so that the client costs little beside the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> _Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Raises RuntimeError when the answer is not 200."""
        head = f"{method} /v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
        content = await self._reader.readexactly(int(found[1])) if found else b""
        if b" 200 " not in answer.partition(b"\r\n")[0]:
            raise RuntimeError(f"{method} {path}: {answer!r} {content!r}")
        return content

    def close(self) -> None:
        self._writer.close()


async def _insert(port: int, num_clients: int, seconds: float) -> float:
    """Acknowledged messages a second, each client with a thread of its own."""
    body = json.dumps({"role": "user", "content": WORDS * 2}).encode()

    async def client() -> int:
        connection = await _Connection.open(port)
        thread_id = json.loads(await connection.ask("POST", "/threads", b"{}"))["id"]
        count = 0
        while time.perf_counter() < ends_at:
            await connection.ask("POST", f"/threads/{thread_id}/messages", body)
            count += 1
        connection.close()
        return count

    ends_at = time.perf_counter() + seconds
    return sum(await asyncio.gather(*(client() for _ in range(num_clients)))) / seconds


async def _read(port: int, what: str, num_messages: int, times: int) -> float:
    """p50 of one client that asks for one thread after the other, in ms."""
    connection, rng, durations = await _Connection.open(port), random.Random(1), list[float]()
    for number in range(times + 10):
        thread = rng.randrange(num_messages // MESSAGES_PER_THREAD)
        message = thread + rng.randrange(MESSAGES_PER_THREAD) * (num_messages // MESSAGES_PER_THREAD)
        ending = "?limit=20" if what == "page" else f"/msg_{message}"
        began = time.perf_counter()
        content = await connection.ask("GET", f"/threads/thread_{thread}/messages{ending}")
        if number >= 10:
            durations.append(1000 * (time.perf_counter() - began))
        if what == "page" and len(json.loads(content)["data"]) != 20:
            raise RuntimeError("a page is not full")
    connection.close()
    return statistics.median(durations)


# ── The servers ──────────────────────────────────────────────────────────────────────────────────────────────────────


class _Server:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port


@contextmanager
def _serving(kind: str, *, num_messages: int = 0) -> Iterator[_Server]:
    with child_server(__file__, lambda folder: ["serve", kind, folder, str(num_messages)]) as (process, port):
        yield _Server(process, port)


async def _serve(kind: str, folder: Path, num_messages: int) -> None:
    directory = folder / "database"
    if num_messages:
        await _fill(directory, num_messages)
    opening = DuckDBStore.open(directory) if kind == "duckdb" else DuckDBStore.open(directory, database=SqliteDatabase(directory))
    settings = Settings(data_dir=folder / "data", min_free_disk_bytes=0)
    async with (
        opening as store,
        build_app(settings, store=store, engines=ScriptedEngine(), documents=HashDocuments(), sandbox=ScriptedSandbox()) as opened,
    ):
        with listen("127.0.0.1", 0) as listener:
            print(listener.getsockname()[1], flush=True)
            serving = asyncio.create_task(serve(opened, [listener], log_level="error"))
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def _fill(directory: Path, num_messages: int) -> None:
    """Threads of fifty messages each, which lie far apart in the table: the worst case."""
    thread = Thread(id="@THREAD", created_at=1)
    message = Message(id="@MESSAGE", created_at=1, thread_id="@THREAD", role="user", content=[TextPart(text=Text(value=WORDS))])
    async with DuckDBStore.open(directory) as store:  # makes the tables
        await store.commit([Put(thread), Put(message)])
    num_threads = num_messages // MESSAGES_PER_THREAD
    with duckdb.connect(str(directory / "objects.duckdb")) as database:
        database.execute(
            "INSERT INTO threads (key, seq, created_at, doc) "
            "SELECT 'thread_' || i, i + 10, 1, replace(?, '@THREAD', 'thread_' || i) FROM range(?) AS numbers(i)",
            [thread.model_dump_json(), num_threads],
        )
        database.execute(
            "INSERT INTO messages (key, seq, created_at, thread_id, doc) SELECT 'msg_' || i, i + 10, 1, 'thread_' || (i % $threads), "
            "replace(replace($doc, '@THREAD', 'thread_' || (i % $threads)), '@MESSAGE', 'msg_' || i) FROM range($messages) AS numbers(i)",
            {"threads": num_threads, "messages": num_messages, "doc": message.model_dump_json()},
        )


class SqliteDatabase(Database):
    """The same tables in SQLite, for the same statements, each commit on the disk (WAL, synchronous=FULL): what who keeps objects in SQLite would do."""

    def __init__(self, directory: Path) -> None:
        super().__init__(None)
        self._file = directory / "objects.sqlite"
        self._own = threading.local()

    def open(self) -> None:
        self._file.parent.mkdir(parents=True)
        self._writer = self._connect()

    def close(self) -> None:
        self._writer.close()

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        statements = [each for each in re.sub(r"--.*", "", sql).split(";") if each.strip()]
        return [_say(self._writer, statement, values) for statement in statements][-1]

    def read(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        if not hasattr(self._own, "connection"):
            self._own.connection = self._connect()
        return _say(self._own.connection, sql, values)

    @contextmanager
    def transaction(self) -> Generator[None]:
        with translated():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._writer.execute("COMMIT")
            except BaseException:
                self._writer.rollback()
                raise

    def checkpoint(self) -> None:
        """SQLite does it by itself, every thousand pages."""

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
        # Two functions of DuckDB's that migrations use; there is nothing to change in a new database.
        connection.create_function("contains", 2, lambda text, part: part in text, deterministic=True)
        connection.create_function("regexp_replace", -1, lambda text, pattern, new, *_: re.sub(pattern, new, text), deterministic=True)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection


def _say(connection: sqlite3.Connection, sql: str, values: Sequence[object]) -> list[Any]:
    """Lists become rows: SQLite is fastest row by row."""
    sql = sql.replace("json_extract_string(", "json_extract(").replace("IS NOT DISTINCT FROM", "IS")
    if "unnest(" not in sql:
        return connection.execute(sql, [-1 if value is None else value for value in values]).fetchall()
    head, conflict, rest = sql.partition("ON CONFLICT")
    marks = ", ".join("?" * len(values))
    by_row = re.sub(r"\(SELECT unnest.*", f"({marks})", head) if head.startswith("DELETE") else re.sub(r"SELECT unnest.*", f"VALUES ({marks}) ", head)
    by_row += conflict + rest
    lists: list[list[object]] = [list(each) for each in values]  # type: ignore[call-overload]
    return [row for each in zip(*lists, strict=True) for row in connection.execute(by_row, each).fetchall()]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", kind, folder, num_messages]:
            asyncio.run(_serve(kind, Path(folder), int(num_messages)))
        case ["load", port, "insert", num_clients, seconds]:
            print(asyncio.run(_insert(int(port), int(num_clients), float(seconds))))
        case ["load", port, what, num_messages, times]:
            print(asyncio.run(_read(int(port), what, int(num_messages), int(times))))
        case _:
            sys.exit("serve KIND FOLDER MESSAGES, or load PORT insert CLIENTS SECONDS, or load PORT page|retrieve MESSAGES TIMES")
