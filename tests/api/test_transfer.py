"""Everything out of one server and into another, vector stores and runs too."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.beta import Assistant, Thread

from offline_assistants.transfer import contents_beside, export_to, import_from
from tests.api.conftest import LiveServer
from tests.api.test_ingestion import blobs_in, wait_until


@asynccontextmanager
async def admin(server: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.AsyncHTTPTransport(uds=str(server.data_dir / "admin.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=15) as client:
        yield client


def nothing_is_refused(place: str, reason: str) -> None:
    pytest.fail(f"{place}: {reason}")


def shown(client: openai.OpenAI, thread_id: str, store_id: str) -> list[Any]:
    """What a client sees of a conversation and a vector store."""
    runs = client.beta.threads.runs.list(thread_id).data
    steps = [step for run in runs for step in client.beta.threads.runs.steps.list(run.id, thread_id=thread_id)]
    return [client.beta.threads.retrieve(thread_id), *client.beta.threads.messages.list(thread_id), *runs, *steps, *client.vector_stores.files.list(store_id)]


@pytest.mark.timeout(60)
async def test_a_conversation_with_its_documents_moves_to_another_server(
    server: LiveServer, client: openai.OpenAI, assistant: Assistant, thread: Thread, tmp_path: Path
) -> None:
    server.engine.will_say("Hello.")
    client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
    store = client.vector_stores.create(name="docs", metadata={"a": "b"})
    client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("a.txt", b"The llama sleeps."), poll_interval_ms=20)
    other = LiveServer(tmp_path / "other").start()
    target = tmp_path / "out" / "all.jsonl"

    async with admin(server) as source, admin(other) as sink:
        counts = await export_to(source, target, contents=contents_beside(target), project=None)
        taken = await import_from(sink, target, project=None, say=nothing_is_refused)

    with openai.OpenAI(base_url=other.url, api_key="none", max_retries=0, timeout=15) as moved:
        client.vector_stores.files.poll(file_id=moved.files.list().data[0].id, vector_store_id=store.id, poll_interval_ms=20)
        moved.vector_stores.files.poll(file_id=moved.files.list().data[0].id, vector_store_id=store.id, poll_interval_ms=20)
        assert shown(moved, thread.id, store.id) == shown(client, thread.id, store.id)
        assert moved.vector_stores.retrieve(store.id).file_counts.completed == 1
        assert moved.vector_stores.search(store.id, query="llama").data[0].content[0].text == "The llama sleeps."
    other.stop()
    assert taken == Counter({"imported": counts.total(), "refused": 0})
    assert set(counts) == {"assistant", "thread", "thread.message", "thread.run", "thread.run.step", "file", "vector_store", "vector_store.file"}


def imported(server: LiveServer, *objects: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Outcome and reason of each, all sent in one batch."""
    with server.admin() as admin:
        answer = admin.post("/admin/import", json={"objects": objects}).raise_for_status().json()
    return [(each["outcome"], each["reason"]) for each in answer["results"]]


def file_with(server: LiveServer, content: bytes, **fields: Any) -> dict[str, Any]:
    """A file as it is sent, its content being on the server already."""
    with server.admin() as admin:
        blob = admin.post("/admin/contents", content=content).raise_for_status().json()
    return {"id": "file-a", "object": "file", "created_at": 1, "filename": "a.txt", "purpose": "assistants"} | blob | fields


def test_the_second_of_two_with_one_id_changes_nothing_and_leaves_nothing_behind(server: LiveServer, client: openai.OpenAI) -> None:
    taken = imported(server, file_with(server, b"first"), file_with(server, b"second"))

    assert taken == [("imported", None), ("already there", None)]
    assert client.files.content("file-a").content == b"first"
    assert len(blobs_in(server)) == 1


def test_the_second_of_two_with_one_id_is_refused_in_another_project(server: LiveServer, client: openai.OpenAI) -> None:
    thread = {"id": "thread_a", "object": "thread", "created_at": 1}

    taken = imported(server, thread, thread | {"project": "blue"})

    assert taken == [("imported", None), ("refused", "the id thread_a is taken by an object of another project")]
    assert client.beta.threads.retrieve("thread_a").id == "thread_a"


def test_the_second_of_two_after_one_that_is_refused_is_imported(server: LiveServer) -> None:
    taken = imported(server, {"id": "thread_a", "object": "thread", "created_at": "never"}, {"id": "thread_a", "object": "thread", "created_at": 1})

    assert [outcome for outcome, _ in taken] == ["refused", "imported"]


def test_a_file_in_a_vector_store_twice_is_added_once(server: LiveServer, client: openai.OpenAI) -> None:
    row = {"id": "file-a", "object": "vector_store.file", "created_at": 1, "vector_store_id": "vs_a"}
    imported(server, file_with(server, b"The llama sleeps."), {"id": "vs_a", "object": "vector_store", "created_at": 1})

    taken = imported(server, row, row)

    assert taken == [("imported", None), ("already there", None)]
    assert client.vector_stores.retrieve("vs_a").file_counts.total == 1


@pytest.mark.parametrize("file_id", ["file-a", "upload_of_another_server"])
def test_an_imported_file_goes_when_its_time_has_come(server: LiveServer, file_id: str) -> None:
    taken = imported(server, file_with(server, b"soon gone", id=file_id, expires_at=int(time.time()) + 1))

    assert taken == [("imported", None)]
    wait_until(lambda: blobs_in(server) == [])


@pytest.mark.parametrize("bad_id", ["", "../../etc", "vs_a/file-a", "-a", "file-\u00e4", "file-a\n", "a" * 201])
def test_an_id_that_could_be_a_path_is_refused(server: LiveServer, bad_id: str) -> None:
    [(outcome, reason)] = imported(server, file_with(server, b"x", id=bad_id))

    assert outcome == "refused"
    assert "begins with a letter or digit" in str(reason)
    assert blobs_in(server) == []
