"""Measures the streams of one server: events a second over many connections, the longest stall of its event loop, memory of open streams.

`measure_events` and `measure_memory` start a server in a process of its own, its engine scripted, and read from raw sockets, so that the figures are the
server's and not a client's. Run as a program, this file is that server.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bench_child import START_TIMEOUT_S, child_server

from offline_assistants.bootstrap import build_app
from offline_assistants.server import listen, serve
from offline_assistants.settings import Settings
from offline_assistants.testing.hash_documents import HashDocuments
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox

WATCH_S = 0.002
READ_BYTES = 1 << 18
EVENT = b"event: "
CONTEXT_TOKENS = 1 << 20
MODEL = "scripted"


@dataclass(frozen=True)
class StreamFigures:
    """Of all streams together, from the first request to the last byte."""

    events_per_s: float
    longest_stall_ms: float
    """The most that the server's event loop was late."""


def measure_events(*, num_streams: int = 50, num_words: int = 2000) -> StreamFigures:
    """`num_streams` runs at once, each streaming an answer of `num_words` words. Raises RuntimeError when a stream did not come to its end."""
    with _serving() as server:
        body = server.run_body("word " * num_words)
        asyncio.run(_read_all(server.port, [body] * 4))  # what is made once is made
        server.ask("begin")
        began = time.perf_counter()
        counts = asyncio.run(_read_all(server.port, [body] * num_streams))
        took_s = time.perf_counter() - began
        if min(counts) < num_words:
            raise RuntimeError(f"a stream had {min(counts)} events")
        return StreamFigures(sum(counts) / took_s, server.ask("end")["longest_stall_ms"])


def measure_memory(*, num_streams: int = 200) -> float:
    """How much the server's memory (VmRSS) grows by `num_streams` streams that are open and wait for their model, in MB of 10^6 bytes."""
    with _serving("--wait") as server:
        body = server.run_body("Hi")
        before = server.ask("end")["resident_bytes"]
        connections = [_open_stream(server.port, body) for _ in range(num_streams)]
        grown = (server.ask("end")["resident_bytes"] - before) / 1e6
        for connection in connections:
            connection.close()
        return grown


# ── The client ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _request(body: bytes) -> bytes:
    head = f"POST /v1/threads/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


async def _read_all(port: int, bodies: list[bytes]) -> list[int]:
    return await asyncio.gather(*(_count_events(port, body) for body in bodies))


async def _count_events(port: int, body: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=READ_BYTES)
    writer.write(_request(body))
    count, rest, last = 0, b"", b""
    while data := await reader.read(READ_BYTES):
        rest += data
        count += rest.count(EVENT)
        rest, last = rest[-(len(EVENT) - 1) :], (last + data)[-100:]
    writer.close()
    if b"[DONE]" not in last:
        raise RuntimeError(f"a stream ended with {last!r}")
    return count


def _open_stream(port: int, body: bytes) -> socket.socket:
    """A stream whose run has begun."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=START_TIMEOUT_S)
    connection.sendall(_request(body))
    received = b""
    while b"thread.run.in_progress" not in received:
        data = connection.recv(READ_BYTES)
        if not data:
            raise RuntimeError(f"a stream ended with {received[-300:]!r}")
        received += data
    return connection


@dataclass(frozen=True)
class _Server:
    process: subprocess.Popen[str]
    port: int

    def ask(self, word: str) -> dict[str, Any]:
        """ "begin" forgets the longest stall; "end" and "begin" both answer with the figures up to now."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return cast("dict[str, Any]", json.loads(self.process.stdout.readline()))

    def run_body(self, text: str) -> bytes:
        """Of POST /v1/threads/runs: the scripted engine repeats `text`."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/assistants", json.dumps({"model": MODEL}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=START_TIMEOUT_S) as response:
            assistant_id = json.load(response)["id"]
        return json.dumps({"assistant_id": assistant_id, "stream": True, "thread": {"messages": [{"role": "user", "content": text}]}}).encode()


@contextmanager
def _serving(*options: str) -> Iterator[_Server]:
    with child_server(__file__, lambda folder: [folder, *options]) as (process, port):
        yield _Server(process, port)


# ── The server ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _Waiting(ScriptedEngine):
    """Every generation waits."""

    async def generate(self, *arguments: Any) -> Any:
        self.will_wait()
        async for delta in super().generate(*arguments):
            yield delta


class _Watch:
    """How late the event loop is."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(WATCH_S)
            self.longest_s = max(self.longest_s, time.perf_counter() - began - WATCH_S)


def _answer_questions(watch: _Watch) -> None:
    for line in sys.stdin:
        (kilobytes,) = (each.split()[1] for each in Path("/proc/self/status").read_text("ascii").splitlines() if each.startswith("VmRSS:"))
        print(json.dumps({"longest_stall_ms": 1000 * watch.longest_s, "resident_bytes": 1024 * int(kilobytes)}), flush=True)
        if line.strip() == "begin":
            watch.longest_s = 0.0
    os.kill(os.getpid(), signal.SIGTERM)


async def _serve(folder: Path, *, waits: bool) -> None:
    engine = (_Waiting if waits else ScriptedEngine)(MODEL, context_tokens=CONTEXT_TOKENS)
    settings = Settings(data_dir=folder / "data", min_free_disk_bytes=0)
    watch = _Watch()
    async with build_app(settings, engines=engine, documents=HashDocuments(), sandbox=ScriptedSandbox()) as opened:
        listener = listen("127.0.0.1", 0)
        watching = asyncio.create_task(watch.run())
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=_answer_questions, args=(watch,), daemon=True).start()
        await serve(opened, [listener], log_level="error")
        watching.cancel()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), waits="--wait" in sys.argv))
