"""The names of models: those that are here, those that stand for them, and what may be deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai.types.beta import Thread

from offline_assistants.errors import RequestError
from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.api.conftest import LiveServer

HOSTED = ["gpt-4o", "gpt-3.5-turbo-instruct", "chatgpt-4o-latest", "o1", "o3-mini", "o4-mini", "davinci-002", "babbage-002"]


def test_models_are_listed_and_shown(client: openai.OpenAI) -> None:
    assert [(model.id, model.kind) for model in client.models.list()] == [("scripted", "chat"), ("hash-embedder", "embedding")]
    assert client.models.retrieve("scripted").owned_by == "offline-assistants"


@pytest.mark.parametrize("name", HOSTED)
def test_a_hosted_name_stands_for_the_model_that_is_here(client: openai.OpenAI, name: str) -> None:
    model = client.models.retrieve(name)

    assert (model.id, model.x_model_file) == (name, "scripted.gguf")


def test_a_hosted_embedding_name_stands_for_the_embedder(client: openai.OpenAI) -> None:
    assert client.models.retrieve("text-embedding-3-small").x_model_file == "hash-embedder"
    with pytest.raises(openai.BadRequestError, match="embedding model"):
        client.beta.assistants.create(model="text-embedding-3-small")


def test_a_run_keeps_the_name_that_was_asked_for_and_tells_the_file(client: openai.OpenAI, thread: Thread) -> None:
    assistant = client.beta.assistants.create(model="gpt-4o")

    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)

    assert (assistant.model, run.model, run.x_model_file, run.status) == ("gpt-4o", "gpt-4o", "scripted.gguf", "completed")


def test_any_other_name_is_404_with_those_there_are(client: openai.OpenAI) -> None:
    for look in (lambda: client.models.retrieve("llama-9"), lambda: client.models.delete("llama-9"), lambda: client.beta.assistants.create(model="llama-9")):
        with pytest.raises(openai.NotFoundError, match=r"'llama-9' does not exist on this machine\. There are: scripted") as error:
            look()
        assert error.value.body["code"] == "model_not_found"


def test_a_model_is_deleted_by_its_own_name_only(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="stands for the model 'scripted'"):
        client.models.delete("gpt-4o")
    with pytest.raises(openai.BadRequestError, match="file search needs it"):
        client.models.delete("text-embedding-ada-002")

    assert client.models.delete("scripted").deleted
    assert [model.id for model in client.models.list()] == ["hash-embedder"]


@pytest.fixture
def aliased(tmp_path: Path) -> Iterator[openai.OpenAI]:
    settings = {"model_aliases": ["gpt-4o*=big", "claude-*", "text-embedding-*=hash-embedder"], "default_model": "small"}
    live = LiveServer(tmp_path / "data", engine=ScriptedEngine("big", "small", "gpt-4o-mini"), settings=settings).start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0) as client:
        yield client
    live.stop()


def test_aliases_and_the_default_model_are_settings(aliased: openai.OpenAI) -> None:
    assert [aliased.models.retrieve(name).x_model_file for name in ("gpt-4o", "claude-9", "gpt-4o-mini")] == ["big.gguf", "small.gguf", "gpt-4o-mini.gguf"]
    assert aliased.models.retrieve("text-embedding-3-small").x_model_file == "hash-embedder"
    for name in ("gpt-5",):
        with pytest.raises(openai.APIStatusError):
            aliased.models.retrieve(name)


def test_a_parameter_without_effect_is_named_in_a_header(client: openai.OpenAI, thread: Thread) -> None:
    created = client.beta.assistants.with_raw_response.create(model="scripted", reasoning_effort="low")
    run = client.beta.threads.runs.with_raw_response.create(thread_id=thread.id, assistant_id=created.parse().id, reasoning_effort="high")
    plain = client.beta.assistants.with_raw_response.create(model="scripted")

    assert [answer.headers.get("x-ignored-parameters") for answer in (created, run, plain)] == ["reasoning_effort", "reasoning_effort", None]


def test_a_model_that_is_told_how_long_to_think_ignores_nothing(client: openai.OpenAI, engine: ScriptedEngine, thread: Thread) -> None:
    engine.takes_reasoning_effort = True
    created = client.beta.assistants.with_raw_response.create(model="scripted", reasoning_effort="low")
    assistant_id = created.parse().id
    changed = client.beta.assistants.with_raw_response.update(assistant_id, reasoning_effort="high")
    run = client.beta.threads.runs.with_raw_response.create(thread_id=thread.id, assistant_id=assistant_id, reasoning_effort="high")
    chat = client.chat.completions.with_raw_response.create(model="scripted", messages=[{"role": "user", "content": "Hi"}], reasoning_effort="low")

    assert [answer.headers.get("x-ignored-parameters") for answer in (created, changed, run, chat)] == [None] * 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"default_model": "big"}, "--default-model: there is no model 'big'"),
        ({"model_aliases": ["gpt-*=qwen"]}, r"--model-aliases gpt-\*=qwen: .* There are: scripted"),
        ({"model_aliases": ["text-embedding-*=scripted"]}, r"--model-aliases text-embedding-\*=scripted: .* There are: hash-embedder"),
    ],
)
def test_a_name_in_the_settings_that_leads_nowhere_is_said_at_start(tmp_path: Path, settings: dict[str, object], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        LiveServer(tmp_path / "data", settings=settings).try_to_open()
