"""What people bring with them: lists of threads, and the addresses of Azure OpenAI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.beta import Assistant

from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.api.conftest import LiveServer


@pytest.fixture
def azure(server: LiveServer) -> Iterator[openai.AzureOpenAI]:
    endpoint = server.url.removesuffix("/v1")
    with openai.AzureOpenAI(azure_endpoint=endpoint, api_key="any", api_version="2024-05-01-preview", max_retries=0, timeout=15) as sdk:
        yield sdk


# ── GET /v1/threads ──────────────────────────────────────────────────────────────────────────────────────────────────


def threads(server: LiveServer, **params: Any) -> Any:
    return httpx.get(f"{server.url}/threads", params=params).raise_for_status().json()


def test_threads_are_listed_newest_first_in_pages(server: LiveServer, client: openai.OpenAI) -> None:
    ids = [client.beta.threads.create().id for _ in range(5)]

    page = threads(server, limit=2)
    rest = threads(server, limit=3, after=page["last_id"], order="desc")

    assert [each["id"] for each in page["data"] + rest["data"]] == ids[::-1]
    assert (page["has_more"], rest["has_more"]) == (True, False)
    assert (page["first_id"], page["last_id"]) == (ids[4], ids[3])


@pytest.mark.parametrize(("key", "value"), [("user", "u1"), ("a/b~c", "x"), ("quote\"'", "ü 🦙"), ("$.*", "all"), ("", "empty")])
def test_threads_are_found_by_their_metadata(server: LiveServer, client: openai.OpenAI, key: str, value: str) -> None:
    wanted = client.beta.threads.create(metadata={key: value, "kind": "chat"})
    client.beta.threads.create(metadata={"kind": "chat"})
    client.beta.threads.create(metadata={key: "other"})

    found = threads(server, **{f"metadata[{key}]": value, "metadata[kind]": "chat"})

    assert [each["id"] for each in found["data"]] == [wanted.id]


def test_no_thread_has_what_nobody_gave_it(server: LiveServer, client: openai.OpenAI) -> None:
    client.beta.threads.create(metadata={"user": "u1"})

    assert threads(server, **{"metadata[user]": "u2"}) == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


# ── Azure ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_conversation_with_the_azure_client(azure: openai.AzureOpenAI, engine: ScriptedEngine) -> None:
    engine.will_say("Hello from here.")
    assistant = azure.beta.assistants.create(model="scripted", instructions="Be brief.")
    thread = azure.beta.threads.create(messages=[{"role": "user", "content": "Hello?"}])

    run = azure.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)

    assert run.status == "completed"
    assert azure.beta.threads.messages.list(thread.id).data[0].content[0].text.value == "Hello from here."  # type: ignore[union-attr]


def test_the_azure_client_streams_and_uploads(azure: openai.AzureOpenAI, engine: ScriptedEngine, assistant: Assistant) -> None:
    engine.will_say("Hi.")
    thread = azure.beta.threads.create(messages=[{"role": "user", "content": "Hello?"}])
    file = azure.files.create(file=("a.txt", b"x" * 1000), purpose="assistants")

    events = [event.event for event in azure.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True)]

    assert events[-1] == "thread.run.completed"
    assert azure.files.content(file.id).read() == b"x" * 1000


def test_a_deployment_names_the_model(azure: openai.AzureOpenAI, server: LiveServer, engine: ScriptedEngine) -> None:
    engine.will_say("Hello.")
    engine.will_say("Hello.")
    asked = {"messages": [{"role": "user", "content": "Hello?"}]}

    by_sdk = azure.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "Hello?"}])
    by_hand = httpx.post(f"{server.url.removesuffix('/v1')}/openai/deployments/scripted/chat/completions?api-version=x", json=asked, headers={"api-key": "x"})

    assert by_sdk.choices[0].message.content == "Hello."
    assert (by_hand.status_code, by_hand.json()["model"]) == (200, "scripted")


@pytest.mark.parametrize("path", ["/openai/assistants?api-version=2024-05-01-preview", "/openai/v1/assistants", "/openai/assistants?limit=1&api-version=x"])
def test_each_form_of_address_is_understood(server: LiveServer, assistant: Assistant, path: str) -> None:
    answer = httpx.get(server.url.removesuffix("/v1") + path, headers={"api-key": "any"})

    assert [each["id"] for each in answer.json()["data"]] == [assistant.id]


def test_an_address_of_nowhere_is_refused_in_the_envelope(server: LiveServer) -> None:
    answer = httpx.get(server.url.removesuffix("/v1") + "/openai/nowhere?api-version=x")

    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"
