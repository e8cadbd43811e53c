"""Bad input gets the API's own envelope, and nothing is lost."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from openai.types.beta import Assistant, Thread

from tests.api.conftest import LiveServer


def post(server: LiveServer, path: str, body: Any, **options: Any) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, **options)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/assistants/asst_x", "No assistant found with id 'asst_x'."),
        ("/threads/thread_x", "No thread found with id 'thread_x'."),
        ("/threads/thread_x/messages", "No thread found with id 'thread_x'."),
        ("/threads/thread_x/runs/run_x", "No thread found with id 'thread_x'."),
        ("/files/file-x", "No such File object: file-x"),
        ("/files/file-x/content", "No such File object: file-x"),
        ("/vector_stores/vs_x", "Vector store with id ['vs_x'] not found."),
        ("/nowhere", "Invalid URL (GET /v1/nowhere)"),
    ],
)
def test_an_unknown_id_is_404_in_the_contract_s_words(server: LiveServer, path: str, message: str) -> None:
    response = httpx.get(server.url + path)

    assert response.status_code == 404
    assert response.json()["error"]["message"] == message
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("body", "message", "param", "code"),
    [
        ({}, "Missing required parameter: 'model'.", "model", "missing_required_parameter"),
        ({"model": "scripted", "colour": 1}, "Unknown parameter: 'colour'.", "colour", "unknown_parameter"),
        ({"model": 7}, "Invalid type for 'model': expected a string, but got an integer instead.", "model", "invalid_type"),
        ({"model": "scripted", "temperature": 3}, None, "temperature", "integer_above_max_value"),
        ({"model": "scripted", "tools": [{"type": "browser"}]}, None, "tools[0].type", "invalid_value"),
        ({"model": "scripted", "tools": [{"type": "function", "function": {}}]}, None, "tools[0].function.name", "missing_required_parameter"),
        ({"model": "scripted", "name": "n" * 257}, None, "name", "string_above_max_length"),
        ({"model": "scripted", "metadata": {str(n): "" for n in range(17)}}, None, "metadata", "object_above_max_properties"),
        ({"model": "scripted", "metadata": {"a": 1}}, None, "metadata.a", "invalid_type"),
    ],
)
def test_bad_fields_are_400_with_their_place(server: LiveServer, body: Any, message: str | None, param: str, code: str) -> None:
    response = post(server, "/assistants", body)

    error = response.json()["error"]
    assert response.status_code == 400
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert message is None or error["message"] == message


def test_a_body_without_its_header_is_told_so(server: LiveServer) -> None:
    for options in ({"content": b"{bad"}, {}):
        response = httpx.post(f"{server.url}/assistants", **options)

        assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")
        assert "application/json" in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"\xff\xfe"])
def test_a_body_that_is_no_object_is_400(server: LiveServer, body: bytes) -> None:
    response = httpx.post(f"{server.url}/assistants", content=body, headers={"content-type": "application/json"})

    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("query", "param"), [("limit=-1", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("after=asst_x", "after")]
)
def test_bad_queries_are_refused(server: LiveServer, query: str, param: str) -> None:
    response = httpx.get(f"{server.url}/assistants?{query}")

    assert response.status_code in (400, 404)
    assert response.json()["error"]["param"] == param


def test_an_unknown_model_names_those_there_are(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        client.beta.assistants.create(model="no-such-model")

    assert error.value.body["code"] == "model_not_found"
    assert "scripted" in error.value.body["message"]


def test_a_run_on_nothing_is_refused(client: openai.OpenAI) -> None:
    assistant, thread = client.beta.assistants.create(model="scripted"), client.beta.threads.create()

    with pytest.raises(openai.BadRequestError) as error:
        client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)

    assert error.value.body["code"] == "invalid_thread"


@pytest.mark.parametrize("tool_choice", ["required", {"type": "code_interpreter"}, {"type": "function", "function": {"name": "f"}}])
def test_a_tool_choice_without_its_tool_is_refused(client: openai.OpenAI, assistant: Assistant, thread: Thread, tool_choice: Any) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, tool_choice=tool_choice)

    assert error.value.body["param"] == "tool_choice"


def test_a_message_of_another_thread_is_not_found(client: openai.OpenAI, thread: Thread) -> None:
    other = client.beta.threads.create(messages=[{"role": "user", "content": "x"}])
    [message] = client.beta.threads.messages.list(other.id).data

    with pytest.raises(openai.NotFoundError):
        client.beta.threads.messages.retrieve(message.id, thread_id=thread.id)


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_pages_of_other_sites_are_refused(server: LiveServer, headers: dict[str, str]) -> None:
    response = post(server, "/threads", {}, headers=headers)

    assert response.status_code in (403, 421)
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_every_answer_carries_a_request_id(client: openai.OpenAI) -> None:
    assert client.beta.assistants.with_raw_response.list().headers["x-request-id"].startswith("req_")
