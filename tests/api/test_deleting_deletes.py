"""What a client deletes is nowhere under the data directory any more: the bytes of every file in it are searched."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import openai
import pytest
from openai.types.beta import Assistant

from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.api.conftest import LiveServer
from tests.api.test_runs import WEATHER, wait_until

FORGOTTEN_AFTER_S = 15
"""Two seconds of idleness, and the copy; many times that on a busy machine."""


def files_with(text: str, directory: Path) -> list[str]:
    found: list[str] = []
    for path in directory.rglob("*"):
        try:
            if path.is_file() and text.encode() in path.read_bytes():
                found.append(str(path.relative_to(directory)))
        except FileNotFoundError:  # it went while we looked
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


def a_vector_store(client: openai.OpenAI, text: str) -> Callable[[], object]:
    """Its texts go with it; the uploaded file is the client's, and is deleted here as well."""
    file = client.files.create(file=("a.txt", f"It says {text}.".encode()), purpose="assistants")
    store = client.vector_stores.create(name=text, file_ids=[file.id], metadata={"note": text})
    wait_until(lambda: client.vector_stores.retrieve(store.id).file_counts.completed == 1)
    client.vector_stores.search(store.id, query=text)
    client.files.delete(file.id)
    return lambda: client.vector_stores.delete(store.id)


def a_file_in_a_vector_store(client: openai.OpenAI, text: str) -> Callable[[], object]:
    file = client.files.create(file=("a.txt", b"Nothing of interest."), purpose="assistants")
    store = client.vector_stores.create()
    client.vector_stores.files.create_and_poll(file.id, vector_store_id=store.id, attributes={"note": text}, poll_interval_ms=20)
    return lambda: client.vector_stores.files.delete(file.id, vector_store_id=store.id)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [a_message, a_thread, an_assistant, a_file, a_vector_store, a_file_in_a_vector_store])
def test_the_text_of_what_is_deleted_is_nowhere(server: LiveServer, client: openai.OpenAI, make: Callable[[openai.OpenAI, str], Callable[[], object]]) -> None:
    text = "Zx81-quartz-lantern"
    delete = make(client, text)
    assert files_with(text, server.data_dir)

    delete()

    assert is_forgotten(text, server)


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
