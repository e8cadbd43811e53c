"""Pictures through the whole server: a model with a projector of random weights, which sees nothing that makes sense."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image

from offline_assistants.catalog import Catalog
from tests.acceptance.server_process import ServerProcess
from tests.tiny_projector import PICTURE_TOKENS, write_projector

pytestmark = [pytest.mark.model, pytest.mark.timeout(180)]


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, "PNG")
    return file.getvalue()


def url_part(content: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(content).decode()}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    server = ServerProcess(tmp_path_factory.mktemp("vision"))
    _put_models(server.data_dir / "models")
    try:
        server.start()
        with server.client() as sdk:
            yield sdk
        server.stop()
    finally:
        server.end()


def _put_models(folder: Path) -> None:
    folder.mkdir(parents=True)
    starter = Catalog(folder).list_files()[0].path
    for name in ("seer", "squinter"):
        (folder / f"{name}.gguf").symlink_to(starter)
    write_projector(folder / "mmproj-seer-F32.gguf")
    write_projector(folder / "mmproj-squinter-F32.gguf", width=640)


def run(client: openai.OpenAI, model: str, *contents: Any) -> Any:
    assistant = client.beta.assistants.create(model=model, temperature=0)
    thread = client.beta.threads.create(messages=[{"role": "user", "content": content} for content in contents])
    return client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, max_completion_tokens=256, poll_interval_ms=50)


def test_projectors_are_no_models(client: openai.OpenAI) -> None:
    assert not [model.id for model in client.models.list() if "mmproj" in model.id]


def test_a_run_sees_pictures_from_files_and_urls(client: openai.OpenAI) -> None:
    file_id = client.files.create(file=("red.png", png("red")), purpose="vision").id
    words = {"type": "text", "text": "What is the difference?"}

    done = run(client, "seer", [{"type": "image_file", "image_file": {"file_id": file_id}}, url_part(png("blue")), words])

    assert done.status in {"completed", "incomplete"}, done.last_error
    assert done.usage.prompt_tokens > 2 * PICTURE_TOKENS
    [answer, _] = client.beta.threads.messages.list(done.thread_id)
    assert answer.content[0].text.value


def test_a_chat_completion_sees_a_picture(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "seer", "messages": [{"role": "user", "content": [url_part(png("red")), {"type": "text", "text": "What is it?"}]}]}

    first, second = [client.chat.completions.create(**asked, temperature=0, max_tokens=8) for _ in range(2)]

    assert first.choices[0].message.content == second.choices[0].message.content
    assert second.usage.prompt_tokens_details.cached_tokens == second.usage.prompt_tokens - 1


def test_a_broken_picture_fails_its_run_alone(client: openai.OpenAI) -> None:
    done = run(client, "seer", [url_part(png("red")[:60])])

    assert (done.status, done.last_error.code) == ("failed", "invalid_prompt")
    assert "cannot be read; the file is damaged" in done.last_error.message
    assert run(client, "seer", "Hello").status in {"completed", "incomplete"}


def test_a_projector_that_does_not_fit_is_named_where_a_picture_is_to_be_seen(client: openai.OpenAI) -> None:
    done = run(client, "squinter", [url_part(png("red"))])

    assert (done.status, done.last_error.code) == ("failed", "invalid_prompt")
    assert "mmproj-squinter-F32.gguf does not work with this model" in done.last_error.message
    assert run(client, "squinter", "Hello").status in {"completed", "incomplete"}
