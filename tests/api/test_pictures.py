"""Pictures and files that messages bring along: kept, shown to models that see, and said plainly where nobody sees them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.beta import Assistant, Thread

from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.api.conftest import LiveServer

PNG = b"\x89PNG\r\n\x1a\n a picture"
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
CODE, SEARCH = {"type": "code_interpreter"}, {"type": "file_search"}


@pytest.fixture
def seeing(tmp_path: Path) -> Iterator[tuple[openai.OpenAI, ScriptedEngine]]:
    """A client and the engine of a server whose model sees: a picture takes 100 tokens of 1000."""
    live = LiveServer(tmp_path / "seeing", engine=ScriptedEngine(context_tokens=1000, picture_tokens=100)).start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        yield client, live.engine
    live.stop()


def url_part(url: str = DATA_URL) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def upload(client: openai.OpenAI, content: bytes = PNG, name: str = "cat.png", **options: Any) -> str:
    return client.files.create(file=(name, content), **{"purpose": "vision", **options}).id


def run(client: openai.OpenAI, thread_id: str) -> Any:
    assistant = client.beta.assistants.create(model="scripted")
    return client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant.id, poll_interval_ms=20)


# ── Kept ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_parts_come_back_as_they_were_sent(client: openai.OpenAI, thread: Thread) -> None:
    file_id = upload(client)
    parts = [text_part("Look: "), {"type": "image_file", "image_file": {"file_id": file_id, "detail": "high"}}, url_part(), text_part("Well?")]

    made = client.beta.threads.messages.create(thread.id, role="user", content=parts)

    read = client.beta.threads.messages.retrieve(made.id, thread_id=thread.id).content
    assert [part.type for part in read] == ["text", "image_file", "image_url", "text"]
    assert (read[0].text.value, read[0].text.annotations) == ("Look: ", [])
    assert (read[1].image_file.file_id, read[1].image_file.detail) == (file_id, "high")
    assert (read[2].image_url.url, read[2].image_url.detail) == (DATA_URL, "low")


@pytest.mark.parametrize(
    ("url", "words"), [("file:///etc/passwd", "http"), ("data:image/png;base64,aGVsbG8=", "no PNG"), ("data:image/png;base64,@", "base64")]
)
def test_a_url_that_holds_no_picture_is_refused(client: openai.OpenAI, thread: Thread, url: str, words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        client.beta.threads.messages.create(thread.id, role="user", content=[url_part(url)])


def test_a_picture_has_to_be_there(client: openai.OpenAI, thread: Thread) -> None:
    with pytest.raises(openai.NotFoundError, match="No such File object: file-none"):
        client.beta.threads.messages.create(thread.id, role="user", content=[{"type": "image_file", "image_file": {"file_id": "file-none"}}])


@pytest.mark.parametrize("content", [[], [{"type": "text", "text": "x" * 256_001}], "x" * 256_001, [{"type": "audio"}]])
def test_content_has_its_limits(client: openai.OpenAI, thread: Thread, content: Any) -> None:
    with pytest.raises(openai.BadRequestError):
        client.beta.threads.messages.create(thread.id, role="user", content=content)


# ── Seen ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_that_sees_gets_the_pictures_where_they_stand(seeing: tuple[openai.OpenAI, ScriptedEngine]) -> None:
    client, engine = seeing
    image = {"type": "image_file", "image_file": {"file_id": upload(client)}}
    thread = client.beta.threads.create(messages=[{"role": "user", "content": [text_part("One:"), image, text_part("Two:"), url_part()]}])

    assert run(client, thread.id).status == "completed"

    [message] = engine.chats[-1].messages
    assert [(message.content[: picture.offset], picture.content, picture.mime) for picture in message.pictures] == [
        ("One:\n", PNG, "image/png"),
        ("One:\n\nTwo:\n", PNG, "image/png"),
    ]


def test_pictures_count_towards_the_context(seeing: tuple[openai.OpenAI, ScriptedEngine]) -> None:
    client, engine = seeing
    thread = client.beta.threads.create(messages=[{"role": "user", "content": [url_part()] * 4} for _ in range(4)])

    assert run(client, thread.id).status == "completed"

    assert [len(message.pictures) for message in engine.chats[-1].messages] == [4]


def test_a_model_that_cannot_see_says_so(client: openai.OpenAI, engine: ScriptedEngine, thread: Thread) -> None:
    client.beta.threads.messages.create(thread.id, role="user", content=[text_part("What is this?"), url_part()])

    done = run(client, thread.id)

    assert (done.status, done.last_error.code) == ("failed", "invalid_prompt")
    assert done.last_error.message.startswith(
        "The model 'scripted' cannot see pictures, and there is a picture in the messages that it would read. Use a model"
    )
    assert engine.chats == []


def test_a_picture_that_has_left_the_prompt_does_not_count(client: openai.OpenAI, thread: Thread) -> None:
    client.beta.threads.messages.create(thread.id, role="user", content=[url_part()])
    client.beta.threads.messages.create(thread.id, role="user", content="Never mind. What is two and two?")
    assistant = client.beta.assistants.create(model="scripted")

    done = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, truncation_strategy={"type": "last_messages", "last_messages": 1}, poll_interval_ms=20
    )

    assert done.status == "completed"


def test_nothing_is_fetched(seeing: tuple[openai.OpenAI, ScriptedEngine]) -> None:
    client, _ = seeing
    thread = client.beta.threads.create(messages=[{"role": "user", "content": [url_part("http://127.0.0.1:9/cat.png")]}])

    done = run(client, thread.id)

    assert (done.status, done.last_error.code) == ("failed", "invalid_prompt")
    assert "http://127.0.0.1:9/cat.png cannot be read: pictures are read from data: URLs and files only; nothing is fetched." in done.last_error.message


def test_a_file_that_is_no_picture_is_named(seeing: tuple[openai.OpenAI, ScriptedEngine]) -> None:
    client, _ = seeing
    file_id = upload(client, b"a,b", "table.csv", purpose="assistants")
    thread = client.beta.threads.create(messages=[{"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": file_id}}]}])

    done = run(client, thread.id)

    assert done.last_error.code == "invalid_prompt"
    assert f"The file {file_id} (table.csv) cannot be shown to the model." in done.last_error.message


def test_a_picture_whose_file_was_deleted_is_missed_in_words(seeing: tuple[openai.OpenAI, ScriptedEngine]) -> None:
    client, _ = seeing
    file_id = upload(client)
    thread = client.beta.threads.create(messages=[{"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": file_id}}]}])
    client.files.delete(file_id)

    assert f"The picture {file_id} is gone" in run(client, thread.id).last_error.message


# ── Attachments ──────────────────────────────────────────────────────────────────────────────────────────────────────


def attach(client: openai.OpenAI, thread_id: str, *files: tuple[str, list[dict[str, str]]]) -> Any:
    attachments = [{"file_id": file_id, "tools": tools} for file_id, tools in files]
    return client.beta.threads.messages.create(thread_id, role="user", content="Here.", attachments=attachments)


def test_a_file_attached_twice_is_there_once(client: openai.OpenAI, thread: Thread) -> None:
    file_id = upload(client, b"text", "a.txt", purpose="assistants")

    message = attach(client, thread.id, (file_id, [CODE]), (file_id, [CODE, SEARCH]))
    attach(client, thread.id, (file_id, [CODE, SEARCH]))

    resources = client.beta.threads.retrieve(thread.id).tool_resources
    [store_id] = resources.file_search.vector_store_ids
    assert resources.code_interpreter.file_ids == [file_id]
    assert [file.id for file in client.vector_stores.files.list(store_id).data] == [file_id]
    assert [[tool.type for tool in each.tools] for each in message.attachments] == [["code_interpreter"], ["code_interpreter", "file_search"]]


def test_a_thread_takes_twenty_files_for_code(client: openai.OpenAI, thread: Thread) -> None:
    ids = [upload(client, b"text", f"{number}.txt", purpose="assistants") for number in range(21)]
    attach(client, thread.id, *((file_id, [CODE]) for file_id in ids[:20]))

    with pytest.raises(openai.BadRequestError, match="at most 20 files"):
        attach(client, thread.id, (ids[20], [CODE]))

    attach(client, thread.id, (ids[0], [CODE]))
    assert client.beta.threads.retrieve(thread.id).tool_resources.code_interpreter.file_ids == ids[:20]
    assert len(client.beta.threads.messages.list(thread.id).data) == 3


def test_an_unknown_attachment_leaves_nothing_behind(client: openai.OpenAI, thread: Thread) -> None:
    with pytest.raises(openai.NotFoundError, match="No such File object: file-none"):
        attach(client, thread.id, ("file-none", [CODE, SEARCH]))

    assert client.beta.threads.retrieve(thread.id).tool_resources.to_dict() == {}
    assert len(client.beta.threads.messages.list(thread.id).data) == 1
    assert client.vector_stores.list().data == []


def test_the_effect_of_an_attachment_outlives_its_message(client: openai.OpenAI, thread: Thread) -> None:
    file_id = upload(client, b"text", "a.txt", purpose="assistants")
    message = attach(client, thread.id, (file_id, [CODE]))

    client.beta.threads.messages.delete(message.id, thread_id=thread.id)

    assert client.beta.threads.retrieve(thread.id).tool_resources.code_interpreter.file_ids == [file_id]


def test_messages_of_a_new_run_bring_their_attachments(client: openai.OpenAI, assistant: Assistant, thread: Thread) -> None:
    file_id = upload(client, b"text", "a.txt", purpose="assistants")
    message = {"role": "user", "content": "Here.", "attachments": [{"file_id": file_id, "tools": [CODE]}]}

    client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, additional_messages=[message], poll_interval_ms=20)

    assert client.beta.threads.retrieve(thread.id).tool_resources.code_interpreter.file_ids == [file_id]
