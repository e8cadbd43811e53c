"""Threads, messages and steps: what can be said of them, changed, listed and asked for, with the official SDK."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from openai.types.beta import Assistant, Thread

from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.api.conftest import LiveServer

CONTENT: Any = "step_details.tool_calls[*].file_search.results[*].content"
HUGE_CHUNKS = {"max_chunk_size_tokens": 4097, "chunk_overlap_tokens": 1}
PIXEL = b"\x89PNG\r\n\x1a\n"


def upload(client: openai.OpenAI, name: str = "a.txt", content: bytes = b"Llamas hum.") -> str:
    return client.files.create(file=(name, content), purpose="assistants").id


# ── Metadata ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("metadata", [{}, {"a": ""}, {"": ""}, {str(number) * 32: "v" * 512 for number in range(10, 26)}, {"naïve": "日本語 🦙"}])
def test_metadata_within_its_limits_comes_back(client: openai.OpenAI, metadata: dict[str, str]) -> None:
    thread = client.beta.threads.create(metadata=metadata)

    assert client.beta.threads.retrieve(thread.id).metadata == metadata


def test_metadata_is_replaced_kept_or_cleared(client: openai.OpenAI, assistant: Assistant, thread: Thread, engine: ScriptedEngine) -> None:
    engine.will_say("Hello.")
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=10)
    [message] = client.beta.threads.messages.list(thread.id, limit=1).data

    def change(metadata: Any) -> list[Any]:
        return [
            client.beta.assistants.update(assistant.id, metadata=metadata).metadata,
            client.beta.threads.update(thread.id, metadata=metadata).metadata,
            client.beta.threads.messages.update(message.id, thread_id=thread.id, metadata=metadata).metadata,
            client.beta.threads.runs.update(run.id, thread_id=thread.id, metadata=metadata).metadata,
        ]

    assert change({"a": "1", "b": "2"}) == [{"a": "1", "b": "2"}] * 4
    assert change({"a": "3"}) == [{"a": "3"}] * 4
    assert change(openai.omit) == [{"a": "3"}] * 4
    assert change(None) == [{}] * 4


@pytest.mark.parametrize("metadata", ["", [], 1, {"a": None}, {"a": 1}, {"a": {}}, {"a": ["b"]}, {"a": True}])
def test_metadata_holds_text_only(server: LiveServer, metadata: Any) -> None:
    response = httpx.post(f"{server.url}/threads", json={"metadata": metadata})

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "invalid_type")
    assert error["param"] == ("metadata.a" if isinstance(metadata, dict) else "metadata")


# ── Tool resources ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_store_is_made_with_a_thread(client: openai.OpenAI) -> None:
    file_id = upload(client)
    chunking: Any = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 50}}
    asked: Any = {"file_search": {"vector_stores": [{"file_ids": [file_id], "chunking_strategy": chunking, "metadata": {"k": "v"}}]}}

    thread = client.beta.threads.create(tool_resources=asked)

    [store_id] = thread.tool_resources.file_search.vector_store_ids
    file = client.vector_stores.files.poll(file_id, vector_store_id=store_id, poll_interval_ms=20)
    assert (file.status, file.chunking_strategy.to_dict()) == ("completed", chunking)
    assert client.vector_stores.retrieve(store_id).metadata == {"k": "v"}


def test_tool_resources_change_kind_by_kind(client: openai.OpenAI) -> None:
    file_id, store_id = upload(client), client.vector_stores.create().id
    thread = client.beta.threads.create(tool_resources={"code_interpreter": {"file_ids": [file_id]}})

    searching = client.beta.threads.update(thread.id, tool_resources={"file_search": {"vector_store_ids": [store_id]}})
    emptied = client.beta.threads.update(thread.id, tool_resources={"code_interpreter": {"file_ids": []}})

    assert searching.tool_resources.code_interpreter.file_ids == [file_id]
    assert emptied.tool_resources.to_dict() == {"code_interpreter": {"file_ids": []}, "file_search": {"vector_store_ids": [store_id]}}


@pytest.mark.parametrize(
    ("resources", "param"),
    [
        ({"file_search": {"vector_stores": [{}, {}]}}, "tool_resources.file_search.vector_stores"),
        ({"file_search": {"vector_store_ids": "vs_1"}}, "tool_resources.file_search.vector_store_ids"),
        ({"code_interpreter": {"file_ids": [1]}}, "tool_resources.code_interpreter.file_ids[0]"),
        ({"browser": {}}, "tool_resources.browser"),
        (
            {
                "file_search": {
                    "vector_stores": [{"chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 4097, "chunk_overlap_tokens": 1}}}]
                }
            },
            "tool_resources.file_search.vector_stores[0].chunking_strategy.static.max_chunk_size_tokens",
        ),
    ],
)
def test_wrong_tool_resources_are_refused_with_the_place(server: LiveServer, resources: dict[str, Any], param: str) -> None:
    response = httpx.post(f"{server.url}/threads", json={"tool_resources": resources})

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_attachments_bring_a_thread_no_more_than_twenty_files_for_code(client: openai.OpenAI) -> None:
    file_ids = [upload(client, f"{number}.csv", str(number).encode()) for number in range(21)]
    thread = client.beta.threads.create(tool_resources={"code_interpreter": {"file_ids": file_ids[:20]}})
    tools: Any = [{"type": "code_interpreter"}]

    again = client.beta.threads.messages.create(thread.id, role="user", content="x", attachments=[{"file_id": file_ids[0], "tools": tools}])
    with pytest.raises(openai.BadRequestError) as error:
        client.beta.threads.messages.create(thread.id, role="user", content="x", attachments=[{"file_id": file_ids[20], "tools": tools}])

    assert error.value.body["param"] == "attachments"
    assert [each.id for each in client.beta.threads.messages.list(thread.id)] == [again.id]


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_parts_of_a_message_come_back_as_they_went_in(client: openai.OpenAI, thread: Thread) -> None:
    picture = client.files.create(file=("a.png", PIXEL), purpose="vision").id
    content: Any = [
        {"type": "text", "text": "Look:"},
        {"type": "image_file", "image_file": {"file_id": picture, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]

    message = client.beta.threads.messages.create(thread.id, role="assistant", content=content)

    found = client.beta.threads.messages.retrieve(message.id, thread_id=thread.id)
    assert [part.to_dict() for part in found.content] == [{"type": "text", "text": {"value": "Look:", "annotations": []}}, *content[1:]]
    assert (found.role, found.status, found.run_id, found.assistant_id) == ("assistant", "completed", None, None)


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ([{"type": "text"}], "content[0].text"),
        ([{"type": "image_file", "image_file": {}}], "content[0].image_file.file_id"),
        ([{"type": "image_url", "image_url": {"url": "https://example.com", "detail": "huge"}}], "content[0].image_url.detail"),
        ([{"type": "sound"}], "content[0].type"),
        ([{"type": "text", "text": "x" * 256_001}], "content[0].text"),
        (None, "content"),
    ],
)
def test_a_wrong_part_is_refused_with_its_place(server: LiveServer, thread: Thread, content: Any, param: str) -> None:
    response = httpx.post(f"{server.url}/threads/{thread.id}/messages", json={"role": "user", "content": content})

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_messages_are_listed_by_run_and_in_pages(client: openai.OpenAI, assistant: Assistant, thread: Thread, engine: ScriptedEngine) -> None:
    engine.will_say("One.")
    engine.will_say("Two.")
    runs = [client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=10).id for _ in range(2)]

    listed = client.beta.threads.messages.list(thread.id, order="asc").data
    assert [message.run_id for message in listed] == [None, *runs]
    assert [message.id for message in client.beta.threads.messages.list(thread.id, run_id=runs[1])] == [listed[2].id]
    assert client.beta.threads.messages.list(thread.id, run_id="run_none").data == []
    assert [message.id for message in client.beta.threads.messages.list(thread.id, before=listed[0].id, limit=1).data] == [listed[1].id]


def test_a_deleted_message_is_gone_and_a_cursor_no_more(client: openai.OpenAI, thread: Thread) -> None:
    message = client.beta.threads.messages.create(thread.id, role="user", content="x")

    deleted = client.beta.threads.messages.delete(message.id, thread_id=thread.id)

    assert (deleted.object, deleted.deleted, deleted.id) == ("thread.message.deleted", True, message.id)
    for look in (
        lambda: client.beta.threads.messages.retrieve(message.id, thread_id=thread.id),
        lambda: client.beta.threads.messages.delete(message.id, thread_id=thread.id),
        lambda: client.beta.threads.messages.list(thread.id, after=message.id),
    ):
        with pytest.raises(openai.NotFoundError):
            look()


# ── Steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_passages_are_shown_only_to_who_asks_for_them(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    store = client.vector_stores.create()
    client.vector_stores.files.create_and_poll(upload(client), vector_store_id=store.id, poll_interval_ms=20)
    resources: Any = {"file_search": {"vector_store_ids": [store.id]}}
    assistant = client.beta.assistants.create(model="scripted", tools=[{"type": "file_search"}], tool_resources=resources)
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Do llamas hum?"}])
    engine.will_call("file_search", '{"query": "llamas hum"}')
    engine.will_say("They do.")
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=10)

    def contents(**options: Any) -> list[Any]:
        steps = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, order="asc", **options).data
        one = client.beta.threads.runs.steps.retrieve(steps[0].id, thread_id=thread.id, run_id=run.id, **options)
        return [step.step_details.tool_calls[0].file_search.results[0].content for step in (steps[0], one)]

    assert contents() == [None, None]
    assert [[part.text for part in content] for content in contents(include=[CONTENT])] == [["Llamas hum."]] * 2
    with pytest.raises(openai.BadRequestError) as error:
        contents(include=["everything"])
    assert error.value.body["param"] == "include[0]"
