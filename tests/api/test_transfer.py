"""Everything out of one server and into another, vector stores and runs too."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.beta import Assistant, Thread

from offline_assistants.transfer import export_to, import_from
from tests.api.conftest import LiveServer


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
        counts = await export_to(source, target, project=None)
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
