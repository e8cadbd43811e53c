"""A server that is killed with -9 under load loses nothing that it acknowledged. This file is also the program that is killed.

Engine, sandbox and documents are scripted; HTTP, runs, the database and its disk are real.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from offline_assistants.bootstrap import build_app
from offline_assistants.server import listen, serve
from offline_assistants.settings import Settings
from offline_assistants.testing.hash_documents import HashDocuments
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox

NUM_CLIENTS = 8
ENDED = {"completed", "failed", "cancelled", "expired", "incomplete"}
PATIENCE_S = 30


@dataclass
class Story:
    """What one client was told in one life of the server."""

    thread_id: str
    messages: dict[str, str] = field(default_factory=dict)
    """Id -> text, each acknowledged."""
    deleted: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    """Ids whose deletion was asked for, and perhaps carried out."""
    runs: set[str] = field(default_factory=set)


@pytest.mark.parametrize(
    "num_kills",
    [pytest.param(5, marks=pytest.mark.timeout(150)), pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
def test_nothing_acknowledged_is_lost_no_run_hangs_and_no_message_is_there_twice(tmp_path: Path, num_kills: int) -> None:
    rng = random.Random(num_kills)
    told: list[Story] = []
    newest: list[Story] = []

    for _ in range(num_kills):
        with serving(tmp_path) as (process, url):
            check(url, newest)
            told += newest
            newest = told_before_kill(process, url, after_s=rng.uniform(0.05, 1.5))

    with serving(tmp_path) as (process, url):
        check(url, told + newest)
        assert sum(len(story.messages) + len(story.runs) for story in told + newest) > 5 * num_kills


def told_before_kill(process: subprocess.Popen[str], url: str, *, after_s: float) -> list[Story]:
    with ThreadPoolExecutor(NUM_CLIENTS) as clients:
        working = [clients.submit(work, url) for _ in range(NUM_CLIENTS)]
        time.sleep(after_s)
        process.kill()
        return [story for each in working if (story := each.result()) is not None]


def work(url: str) -> Story | None:
    """Write, run, and delete now and then, until the server is gone."""
    story: Story | None = None
    try:
        with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
            assistant = post(client, "/assistants", {"model": "scripted"})["id"]
            story = Story(post(client, "/threads", {})["id"])
            while True:
                talk(client, story, assistant)
    except httpx.TransportError:
        return story


def talk(client: httpx.Client, story: Story, assistant: str) -> None:
    path = f"/threads/{story.thread_id}"
    for _ in range(3):
        text = f"text {threading.get_ident()} {time.perf_counter_ns()}"
        story.messages[post(client, f"{path}/messages", {"role": "user", "content": text})["id"]] = text
    run = post(client, f"{path}/runs", {"assistant_id": assistant})["id"]
    story.runs.add(run)
    wait_for_end(client, story.thread_id, run)
    doomed = next(key for key in story.messages if key not in story.deleted)
    story.asked.add(doomed)
    client.delete(f"{path}/messages/{doomed}").raise_for_status()
    story.deleted.add(doomed)


def check(url: str, stories: list[Story]) -> None:
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        for story in stories:
            ended = [wait_for_end(client, story.thread_id, run) for run in story.runs]
            messages = all_of(client, f"/threads/{story.thread_id}/messages")
            ids = [message["id"] for message in messages]
            texts = {message["id"]: message["content"][0]["text"]["value"] for message in messages if message["role"] == "user"}
            answered = [message["run_id"] for message in messages if message["role"] == "assistant"]

            assert len(set(ids)) == len(ids)
            assert len(set(texts.values())) == len(texts)
            assert {key: text for key, text in story.messages.items() if key not in story.asked}.items() <= texts.items()
            assert story.deleted.isdisjoint(ids)
            assert all(answered.count(run["id"]) == 1 for run in ended if run["status"] == "completed")
            assert all(run["status"] == "completed" or run["last_error"] for run in ended)


def wait_for_end(client: httpx.Client, thread_id: str, run_id: str) -> dict[str, Any]:
    ends_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends_at:
        run = client.get(f"/threads/{thread_id}/runs/{run_id}").raise_for_status().json()
        if run["status"] in ENDED:
            return run
        time.sleep(0.02)
    raise AssertionError(f"run {run_id} hangs: {run}")


def all_of(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        after = f"&after={found[-1]['id']}" if found else ""
        page = client.get(f"{path}?limit=100&order=asc{after}").raise_for_status().json()
        found += page["data"]
        if not page["has_more"]:
            return found


def post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    return client.post(path, json=body).raise_for_status().json()


@contextmanager
def serving(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen([sys.executable, __file__, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, "the server does not open its database any more"
        yield process, f"http://127.0.0.1:{int(line)}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


async def serve_until_killed(data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir, min_free_disk_bytes=0)
    async with build_app(settings, engines=ScriptedEngine(), documents=HashDocuments(), sandbox=ScriptedSandbox()) as opened:
        with listen("127.0.0.1", 0) as listener:
            print(listener.getsockname()[1], flush=True)
            await serve(opened, [listener], log_level="error")


if __name__ == "__main__":
    asyncio.run(serve_until_killed(Path(sys.argv[1])))
