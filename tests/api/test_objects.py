"""Assistants, threads, messages, files: created, listed, changed, deleted."""

from __future__ import annotations

import json

import openai
import pytest
from openai.types.beta import Assistant, Thread

from tests.api.conftest import LiveServer

UNICODE = "naïve café 日本語 🦙 \u202eabc"


def test_an_assistant_keeps_what_it_was_given(client: openai.OpenAI) -> None:
    made = client.beta.assistants.create(model="scripted", name=UNICODE, tools=[{"type": "code_interpreter"}], metadata={"team": "a"}, temperature=0)

    assert client.beta.assistants.retrieve(made.id) == made
    assert (made.name, made.temperature, made.metadata) == (UNICODE, 0, {"team": "a"})
    assert made.tool_resources.code_interpreter.file_ids == []


def test_an_assistant_changes_only_where_it_is_told(client: openai.OpenAI, assistant: Assistant) -> None:
    changed = client.beta.assistants.update(assistant.id, name="Ada")

    assert changed.name == "Ada"
    assert changed.instructions == assistant.instructions


def test_lists_are_in_order_of_creation_within_one_second(client: openai.OpenAI) -> None:
    made = [client.beta.assistants.create(model="scripted", name=str(number)).id for number in range(7)]

    assert [each.id for each in client.beta.assistants.list(order="asc", limit=3)] == made
    assert [each.id for each in client.beta.assistants.list(limit=2)] == made[::-1]
    assert [each.id for each in client.beta.assistants.list(order="asc", before=made[4], limit=2).data] == made[2:4]


def test_an_empty_page_has_null_ids(server: LiveServer, client: openai.OpenAI) -> None:
    body = json.loads(client.beta.assistants.with_raw_response.list().text)

    assert body == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_a_deleted_thread_is_gone_with_its_messages(client: openai.OpenAI, thread: Thread) -> None:
    [message] = client.beta.threads.messages.list(thread.id).data

    deleted = client.beta.threads.delete(thread.id)

    assert deleted.deleted
    for look in (lambda: client.beta.threads.retrieve(thread.id), lambda: client.beta.threads.messages.retrieve(message.id, thread_id=thread.id)):
        with pytest.raises(openai.NotFoundError):
            look()


def test_a_message_s_text_comes_back_as_one_part(client: openai.OpenAI, thread: Thread) -> None:
    message = client.beta.threads.messages.create(thread.id, role="user", content=UNICODE, metadata={"k": "v"})

    [part] = client.beta.threads.messages.retrieve(message.id, thread_id=thread.id).content
    assert (part.type, part.text.value, part.text.annotations) == ("text", UNICODE, [])


def test_a_message_can_be_labelled_and_deleted(client: openai.OpenAI, thread: Thread) -> None:
    [message] = client.beta.threads.messages.list(thread.id).data

    labelled = client.beta.threads.messages.update(message.id, thread_id=thread.id, metadata={"seen": "yes"})
    client.beta.threads.messages.delete(message.id, thread_id=thread.id)

    assert labelled.metadata == {"seen": "yes"}
    assert client.beta.threads.messages.list(thread.id).data == []


def test_a_file_comes_back_byte_for_byte(client: openai.OpenAI) -> None:
    content = bytes(range(256)) * 5000

    file = client.files.create(file=(f"../{UNICODE}.bin", content), purpose="user_data")

    assert (file.bytes, file.filename, file.status) == (len(content), f"{UNICODE}.bin", "processed")
    assert client.files.content(file.id).read() == content


def test_file_lists_can_be_filtered_by_purpose(client: openai.OpenAI) -> None:
    client.files.create(file=("a.txt", b"a"), purpose="assistants")
    vision = client.files.create(file=("b.png", b"b"), purpose="vision")

    assert [file.id for file in client.files.list(purpose="vision")] == [vision.id]


def test_a_deleted_file_leaves_every_list(client: openai.OpenAI) -> None:
    file = client.files.create(file=("a.csv", b"a,b"), purpose="assistants")
    thread = client.beta.threads.create(tool_resources={"code_interpreter": {"file_ids": [file.id]}})

    client.files.delete(file.id)

    assert client.beta.threads.retrieve(thread.id).tool_resources.code_interpreter.file_ids == []
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)


def test_files_of_equal_content_live_apart(client: openai.OpenAI) -> None:
    one, other = (client.files.create(file=(name, b"same"), purpose="assistants") for name in ("a.txt", "b.txt"))

    client.files.delete(one.id)

    assert client.files.content(other.id).read() == b"same"


def test_a_file_over_the_limit_is_refused(tmp_path) -> None:
    live = LiveServer(tmp_path / "data", settings={"max_file_bytes": 10}).start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0) as client, pytest.raises(openai.BadRequestError) as error:
        client.files.create(file=("a.txt", b"more than ten"), purpose="assistants")
    live.stop()

    assert error.value.body["param"] == "file"


def test_files_for_a_new_store_go_into_the_one_that_is_named(client: openai.OpenAI) -> None:
    file = client.files.create(file=("a.txt", b"Some text."), purpose="assistants")
    store = client.vector_stores.create()

    thread = client.beta.threads.create(
        tool_resources={"file_search": {"vector_store_ids": [store.id], "vector_stores": [{"file_ids": [file.id]}]}}  # type: ignore[typeddict-item]
    )

    assert thread.tool_resources.file_search.vector_store_ids == [store.id]
    assert [each.id for each in client.vector_stores.files.list(store.id)] == [file.id]


def test_a_batch_may_be_empty_and_may_name_files_in_both_ways(client: openai.OpenAI) -> None:
    one, two = (client.files.create(file=(name, b"Some text."), purpose="assistants").id for name in ("a.txt", "b.txt"))
    store = client.vector_stores.create()

    empty = client.vector_stores.file_batches.create(store.id)
    both = client.vector_stores.file_batches.create(store.id, file_ids=[one], files=[{"file_id": two, "attributes": {"k": "v"}}])

    assert (empty.status, empty.file_counts.total) == ("completed", 0)
    assert both.file_counts.total == 2


def test_a_limit_of_none_is_a_page_of_none(client: openai.OpenAI, assistant: Assistant) -> None:
    assert client.beta.assistants.list(limit=0).data == []
