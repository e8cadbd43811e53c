"""What a client deletes is nowhere under the data directory any more: the bytes of every file in it are searched."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.beta import Assistant
from openai.types.beta.threads import Run

from offline_assistants.domain.objects import VectorStore
from offline_assistants.file_search.search_index import Question, SearchIndex
from offline_assistants.file_search.terms import query_terms
from offline_assistants.store.changes import Change, Update
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.vector_store_changes import DeleteFile, DeleteStore
from offline_assistants.testing.hash_documents import HashDocuments
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.api.conftest import LiveServer
from tests.api.test_runs import WEATHER, wait_until

FORGOTTEN_AFTER_S = 15
"""Two seconds of idleness, and the copy; many times that on a busy machine."""
SHORTEST_WORD = 5
"""Shorter ones may stand in any file by chance."""


def files_with(text: str, directory: Path) -> list[str]:
    """Those that hold the text, or a word of it as the keyword index has it."""
    wanted = [each.encode() for each in (text, *query_terms(text)) if len(each) >= SHORTEST_WORD]
    found: list[str] = []
    for path in (Path(folder, name) for folder, _, names in os.walk(directory) for name in names):
        try:
            content = path.read_bytes() if path.is_file() else b""
            if any(each in content for each in wanted):
                found.append(str(path.relative_to(directory)))
        except FileNotFoundError:  # it went while we looked; folders that do are passed over by os.walk
            continue
    return found


def is_forgotten(text: str, server: LiveServer) -> bool:
    """Soon, and still after a restart."""
    ends_at = time.monotonic() + FORGOTTEN_AFTER_S
    while files_with(text, server.data_dir) and time.monotonic() < ends_at:
        time.sleep(0.1)
    found = files_with(text, server.data_dir)
    server.stop()
    server.start()
    return not found and not files_with(text, server.data_dir)


def a_message(client: openai.OpenAI, text: str) -> Callable[[], object]:
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hello"}])
    message = client.beta.threads.messages.create(thread.id, role="user", content=text, metadata={"note": text})
    return lambda: client.beta.threads.messages.delete(message.id, thread_id=thread.id)


def a_thread(client: openai.OpenAI, text: str) -> Callable[[], object]:
    thread = client.beta.threads.create(messages=[{"role": "user", "content": text}], metadata={"note": text})
    assistant = client.beta.assistants.create(model="scripted")
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, instructions=text, poll_interval_ms=20)
    assert run.status == "completed"
    return lambda: client.beta.threads.delete(thread.id)


def an_assistant(client: openai.OpenAI, text: str) -> Callable[[], object]:
    assistant = client.beta.assistants.create(model="scripted", instructions=text)
    return lambda: client.beta.assistants.delete(assistant.id)


def a_file(client: openai.OpenAI, text: str) -> Callable[[], object]:
    file = client.files.create(file=(f"{text}.txt", f"It says {text}.".encode()), purpose="assistants")
    store = client.vector_stores.create(file_ids=[file.id])
    wait_until(lambda: client.vector_stores.retrieve(store.id).file_counts.completed == 1)
    return lambda: client.files.delete(file.id)


def a_file_that_came_in_parts(client: openai.OpenAI, text: str) -> Callable[[], object]:
    content = f"It says {text}.".encode()
    upload = client.uploads.create(bytes=len(content), filename=f"{text}.txt", mime_type="text/plain", purpose="assistants")
    part = client.uploads.parts.create(upload.id, data=content)
    file = client.uploads.complete(upload.id, part_ids=[part.id]).file
    assert file
    return lambda: client.files.delete(file.id)


def a_vector_store(client: openai.OpenAI, text: str) -> Callable[[], object]:
    """Its texts go with it; the uploaded file is the client's, and is deleted here as well."""
    file = client.files.create(file=("a.txt", f"It says {text}.".encode()), purpose="assistants")
    store = client.vector_stores.create(name=text, file_ids=[file.id], metadata={"note": text})
    wait_until(lambda: client.vector_stores.retrieve(store.id).file_counts.completed == 1)
    client.vector_stores.search(store.id, query=text)

    def delete() -> None:
        client.vector_stores.delete(store.id)
        client.files.delete(file.id)

    return delete


def a_file_in_a_vector_store(client: openai.OpenAI, text: str) -> Callable[[], object]:
    file = client.files.create(file=("a.txt", b"Nothing of interest."), purpose="assistants")
    store = client.vector_stores.create()
    client.vector_stores.files.create_and_poll(file.id, vector_store_id=store.id, attributes={"note": text}, poll_interval_ms=20)
    return lambda: client.vector_stores.files.delete(file.id, vector_store_id=store.id)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [a_message, a_thread, an_assistant, a_file, a_file_that_came_in_parts, a_vector_store, a_file_in_a_vector_store])
def test_the_text_of_what_is_deleted_is_nowhere(server: LiveServer, client: openai.OpenAI, make: Callable[[openai.OpenAI, str], Callable[[], object]]) -> None:
    text = "Zx81-quartz-lantern"
    delete = make(client, text)
    assert files_with(text, server.data_dir)

    delete()

    assert is_forgotten(text, server)


def searched(client: openai.OpenAI, engine: ScriptedEngine, file_id: str, *, says: str) -> Run:
    """A run of a thread that has the file, found what is in it, and says something."""
    store = client.vector_stores.create(file_ids=[file_id])
    wait_until(lambda: client.vector_stores.retrieve(store.id).file_counts.completed == 1)
    assistant = client.beta.assistants.create(model="scripted", tools=[{"type": "file_search"}])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Where?"}], tool_resources={"file_search": {"vector_store_ids": [store.id]}})
    engine.will_call("file_search", '{"query": "northern cellar"}')
    engine.will_say(says)
    return client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)


@pytest.mark.timeout(60)
def test_what_a_thread_found_in_a_file_goes_with_it_and_the_thread_goes_on(server: LiveServer, client: openai.OpenAI, engine: ScriptedEngine) -> None:
    text = "Zx81-quartz-lantern"
    file = client.files.create(file=(f"{text}.md", f"# On {text}\n\nThe lamp {text} hangs in the northern cellar.".encode()), purpose="assistants")
    run = searched(client, engine, file.id, says="The lamp hangs in the northern cellar.")
    [message] = client.beta.threads.messages.list(run.thread_id, run_id=run.id).data
    assert text in message.model_dump_json()

    client.files.delete(file.id)

    [message] = client.beta.threads.messages.list(run.thread_id, run_id=run.id).data
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, include=["step_details.tool_calls[*].file_search.results[*].content"])
    assert message.content[0].text.value.startswith("The lamp hangs in the northern cellar.【")
    assert message.content[0].text.annotations[0].file_citation.to_dict() == {"file_id": file.id, "quote": ""}
    assert text not in "".join(step.model_dump_json() for step in steps)
    engine.will_say("As I said.")
    again = client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=run.assistant_id, poll_interval_ms=20)
    assert again.status == "completed"
    assert is_forgotten(text, server)


@pytest.mark.timeout(60)
def test_a_file_that_is_deleted_while_an_answer_quotes_it_is_not_quoted_when_the_answer_is_whole(
    server: LiveServer, client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant
) -> None:
    text = "Zx81-quartz-lantern"
    file = client.files.create(file=("a.md", f"The lamp {text} hangs in the northern cellar.".encode()), purpose="assistants")
    store = client.vector_stores.create(file_ids=[file.id])
    wait_until(lambda: client.vector_stores.retrieve(store.id).file_counts.completed == 1)
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Where?"}], tool_resources={"file_search": {"vector_store_ids": [store.id]}})
    engine.will_call("file_search", '{"query": "northern cellar"}')
    engine.will_say("The lamp hangs in the northern cellar. It is").then_wait()
    stream = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, tools=[{"type": "file_search"}], stream=True)
    run = next(event.data for event in stream if event.event == "thread.run.created")
    next(event for event in stream if event.event == "thread.message.delta" and "【" in event.data.model_dump_json())

    client.files.delete(file.id)
    client.beta.threads.runs.cancel(run.id, thread_id=thread.id)

    wait_until(lambda: client.beta.threads.runs.retrieve(run.id, thread_id=thread.id).status == "cancelled")
    [message] = client.beta.threads.messages.list(thread.id, run_id=run.id).data
    assert message.content[0].text.annotations[0].file_citation.to_dict() == {"file_id": file.id, "quote": ""}
    assert is_forgotten(text, server)


@pytest.mark.timeout(60)
def test_what_models_have_computed_of_a_thread_goes_with_it(server: LiveServer, client: openai.OpenAI) -> None:
    text, prefixes = "Zx81-quartz-lantern", server.data_dir / "prefixes"
    prefixes.mkdir()
    (prefixes / "0123.prefix").write_text(text)
    delete = a_thread(client, text)

    delete()

    assert is_forgotten(text, server)
    assert not prefixes.exists()


async def let_time_pass(data_dir: Path, store_id: str, days: int) -> None:
    def age(store: VectorStore) -> VectorStore:
        return store.used((store.last_active_at or store.created_at) - days * 86_400)

    async with DuckDBStore.open(data_dir / "database") as database:
        await database.commit([Update(VectorStore, store_id, age)])


@pytest.mark.timeout(90)
def test_a_vector_store_that_expires_keeps_nothing_of_its_files(server: LiveServer, client: openai.OpenAI) -> None:
    text, vectors = "Zx81-quartz-lantern", server.data_dir / "vectors"
    file = client.files.create(file=("a.txt", f"It says {text}.".encode()), purpose="assistants")
    store = client.vector_stores.create(file_ids=[file.id], expires_after={"anchor": "last_active_at", "days": 1})
    wait_until(lambda: client.vector_stores.retrieve(store.id).file_counts.completed == 1)
    server.stop()
    assert files_with(text, vectors)

    asyncio.run(let_time_pass(server.data_dir, store.id, days=2))
    server.start()

    wait_until(lambda: not files_with(text, vectors))
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as again:
        expired = again.vector_stores.update(store.id, expires_after={"anchor": "last_active_at", "days": 365})
        assert (expired.status, expired.file_counts.total, expired.usage_bytes) == ("expired", 0, 0)
        again.files.delete(file.id)  # the uploaded file is its owner's
    assert is_forgotten(text, server)


async def found_in_the_index(data_dir: Path, store_id: str, text: str) -> int:
    documents = HashDocuments()
    [vector] = await documents.embed([text])
    async with SearchIndex(data_dir / "vectors") as index:
        return len(await index.find([store_id], [Question(text, vector)], model=await documents.model_name(), max_num_results=5))


async def commit(data_dir: Path, change: Change[Any]) -> None:
    async with DuckDBStore.open(data_dir / "database") as database:
        await database.commit([change])


@pytest.mark.timeout(90)
@pytest.mark.parametrize("is_store", [True, False], ids=["store", "file"])
def test_what_a_crash_leaves_in_the_index_of_deleted_files_goes_at_the_next_start(server: LiveServer, client: openai.OpenAI, is_store: bool) -> None:
    text, vectors = "Zx81-quartz-lantern", server.data_dir / "vectors"
    files = [client.files.create(file=("a.txt", content), purpose="assistants").id for content in (f"It says {text}.".encode(), b"Of plums.")]
    store = client.vector_stores.create(file_ids=files)
    wait_until(lambda: client.vector_stores.retrieve(store.id).file_counts.completed == 2)
    server.stop()
    assert files_with(text, vectors)
    asyncio.run(commit(server.data_dir, DeleteStore(store.id) if is_store else DeleteFile(files[0])))  # and the server dies

    server.start()

    wait_until(lambda: not files_with(text, vectors))
    server.stop()
    assert asyncio.run(found_in_the_index(server.data_dir, store.id, "Of plums.")) == (0 if is_store else 1)


def test_deleting_a_thread_stops_its_run(client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant) -> None:
    engine.will_say("Half a").then_wait()
    stream = client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]}, stream=True)
    thread_id = next(event.data.thread_id for event in stream if event.event == "thread.message.delta" or event.event == "thread.message.created")

    client.beta.threads.delete(thread_id)

    wait_until(lambda: engine.num_cancelled == 1)
    assert sandbox.closed_thread_ids == [thread_id]
    with pytest.raises(openai.APIError, match="deleted"):
        list(stream)
    with pytest.raises(openai.NotFoundError):
        client.beta.threads.retrieve(thread_id)


def test_deleting_a_thread_ends_a_run_that_waits_for_its_client(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant) -> None:
    engine.will_call("get_weather", "{}")
    run = client.beta.threads.create_and_run_poll(assistant_id=assistant.id, tools=[WEATHER], poll_interval_ms=20)

    client.beta.threads.delete(run.thread_id)

    with pytest.raises(openai.NotFoundError):
        client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)
