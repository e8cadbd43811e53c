"""Every error that clients know by its words: status, message, param and code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

from tests.api.conftest import LiveServer

LOOKUP: dict[str, Any] = {"type": "function", "function": {"name": "look_up"}}


class World:
    """What a row can lean on: a server, and the objects that its request names."""

    def __init__(self, server: LiveServer, client: openai.OpenAI) -> None:
        self.server = server
        self.client = client
        self.assistant = client.beta.assistants.create(model="scripted", instructions="Be brief.").id
        self.thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hello?"}]).id
        self.run = ""
        self.calls: list[str] = []

    def with_an_active_run(self) -> None:
        self.server.engine.will_wait()
        self.run = self.client.beta.threads.runs.create(self.thread, assistant_id=self.assistant).id

    def with_a_finished_run(self) -> None:
        self.server.engine.will_say("Done.")
        self.run = self.client.beta.threads.runs.create_and_poll(thread_id=self.thread, assistant_id=self.assistant, poll_interval_ms=10).id

    def with_two_open_calls(self) -> None:
        self.server.engine.will_call("look_up", "{}").then_call("look_up", '{"a": 1}')
        run = self.client.beta.threads.runs.create_and_poll(thread_id=self.thread, assistant_id=self.assistant, tools=[LOOKUP], poll_interval_ms=10)
        self.run, self.calls = run.id, [call.id for call in run.required_action.submit_tool_outputs.tool_calls]

    def with_an_empty_thread(self) -> None:
        self.assistant = self.client.beta.assistants.create(model="scripted").id
        self.thread = self.client.beta.threads.create().id

    def file(self, name: str) -> str:
        return self.client.files.create(file=(name, b"PK"), purpose="assistants").id


@dataclass(frozen=True)
class Row:
    name: str
    path: str | Callable[[World], str]
    message: str | Callable[[World], str]
    method: str = "POST"
    body: Any | Callable[[World], Any] = None
    param: str | None = None
    code: str | None = None
    status: int = 400
    given: str | None = None
    """A method of World that comes before."""


def thread_path(tail: str) -> Callable[[World], str]:
    return lambda world: f"/threads/{world.thread}{tail}"


def run_path(tail: str) -> Callable[[World], str]:
    return lambda world: f"/threads/{world.thread}/runs/{world.run}{tail}"


def unknown(noun: str, path: str | Callable[[World], str], object_id: str, method: str = "GET") -> Row:
    return Row(f"unknown-{noun.replace(' ', '-')}", path, f"No {noun} found with id '{object_id}'.", method=method, status=404)


def refused(name: str, body: dict[str, Any], message: str, *, param: str, code: str, path: str | Callable[[World], str] = "/assistants") -> Row:
    """A body of POST /assistants, unless said otherwise, that is not as it has to be."""
    return Row(f"validation-{name}", path, message, body=body, param=param, code=code)


MODEL = {"model": "scripted"}
A_MESSAGE = {"role": "user", "content": "x"}
ROWS = [
    # ── States ───────────────────────────────────────────────────────────────────────────────────────────────────────
    Row(
        "message-while-a-run-is-active",
        thread_path("/messages"),
        lambda world: f"Can't add messages to {world.thread} while a run {world.run} is active.",
        body=A_MESSAGE,
        given="with_an_active_run",
    ),
    Row(
        "run-while-a-run-is-active",
        thread_path("/runs"),
        lambda world: f"Thread {world.thread} already has an active run {world.run}.",
        body=lambda world: {"assistant_id": world.assistant},
        given="with_an_active_run",
    ),
    Row(
        "run-with-messages-while-a-run-is-active",
        thread_path("/runs"),
        lambda world: f"Thread {world.thread} already has an active run {world.run}.",
        body=lambda world: {"assistant_id": world.assistant, "additional_messages": [A_MESSAGE]},
        given="with_an_active_run",
    ),
    Row(
        "outputs-for-a-finished-run",
        run_path("/submit_tool_outputs"),
        'Runs in status "completed" do not accept tool outputs.',
        body={"tool_outputs": [{"tool_call_id": "call_a", "output": "1"}]},
        given="with_a_finished_run",
    ),
    Row(
        "outputs-for-some-calls-only",
        run_path("/submit_tool_outputs"),
        lambda world: f"Expected tool outputs for call_ids ['{world.calls[0]}', '{world.calls[1]}'], got ['{world.calls[0]}']",
        body=lambda world: {"tool_outputs": [{"tool_call_id": world.calls[0], "output": "1"}]},
        given="with_two_open_calls",
    ),
    Row("cancel-a-finished-run", run_path("/cancel"), "Cannot cancel run with status 'completed'.", given="with_a_finished_run"),
    Row(
        "run-on-an-empty-thread-without-instructions",
        thread_path("/runs"),
        "Run creation requires a Thread with a user message or an assistant with instructions.",
        body=lambda world: {"assistant_id": world.assistant},
        code="invalid_thread",
        given="with_an_empty_thread",
    ),
    # ── Things that are not there ────────────────────────────────────────────────────────────────────────────────────
    unknown("assistant", "/assistants/asst_X", "asst_X"),
    unknown("thread", "/threads/thread_X", "thread_X"),
    unknown("message", thread_path("/messages/msg_X"), "msg_X"),
    unknown("run", thread_path("/runs/run_X"), "run_X"),
    Row("unknown-step", run_path("/steps/step_X"), "No run step found with id 'step_X'.", method="GET", status=404, given="with_a_finished_run"),
    unknown("upload", "/uploads/upload_X/cancel", "upload_X", method="POST"),
    Row("unknown-file", "/files/file-X", "No such File object: file-X", method="GET", param="id", status=404),
    Row("unknown-file-to-delete", "/files/file-X", "No such File object: file-X", method="DELETE", param="id", status=404),
    Row("unknown-file-content", "/files/file-X/content", "No such File object: file-X", method="GET", param="id", status=404),
    Row("unknown-file-in-a-store", "/vector_stores", "No such File object: file-X", body={"file_ids": ["file-X"]}, param="id", status=404),
    Row("unknown-vector-store", "/vector_stores/vs_X", "Vector store with id ['vs_X'] not found.", method="GET", status=404),
    Row(
        "unknown-vector-store-of-an-assistant",
        "/assistants",
        "Vector store with id ['vs_X'] not found.",
        body=MODEL | {"tool_resources": {"file_search": {"vector_store_ids": ["vs_X"]}}},
        status=404,
    ),
    Row("unknown-assistant-of-a-run", thread_path("/runs"), "No assistant found with id 'asst_X'.", body={"assistant_id": "asst_X"}, status=404),
    Row("unknown-thread-for-a-message", "/threads/thread_X/messages", "No thread found with id 'thread_X'.", body=A_MESSAGE, status=404),
    Row("unknown-address", "/nowhere", "Invalid URL (GET /v1/nowhere)", method="GET", status=404),
    Row("unknown-address-to-write", "/threads/thread_X/nowhere", "Invalid URL (POST /v1/threads/thread_X/nowhere)", status=404),
    Row("wrong-method", "/assistants", "Not allowed to PUT on /v1/assistants.", method="PUT", status=405),
    # ── Files that cannot be searched ────────────────────────────────────────────────────────────────────────────────
    *(
        Row(
            f"unsupported-file-{name}",
            path,
            "Files with extensions [.zip] are not supported for retrieval. See https://platform.openai.com/docs/assistants/tools/file-search/supported-files",
            body=body,
            param="file_ids",
            code="unsupported_file",
        )
        for name, path, body in (
            ("in-a-store", "/vector_stores", lambda world: {"file_ids": [world.file("a.txt"), world.file("a.zip")]}),
            (
                "of-an-assistant",
                "/assistants",
                lambda world: MODEL | {"tool_resources": {"file_search": {"vector_stores": [{"file_ids": [world.file("A.ZIP")]}]}}},
            ),
            (
                "attached",
                thread_path("/messages"),
                lambda world: A_MESSAGE | {"attachments": [{"file_id": world.file("a.zip"), "tools": [{"type": "file_search"}]}]},
            ),
        )
    ),
    # ── Validation ───────────────────────────────────────────────────────────────────────────────────────────────────
    refused("missing", {}, "Missing required parameter: 'model'.", param="model", code="missing_required_parameter"),
    refused(
        "missing-deep",
        MODEL | {"tools": [{"type": "function", "function": {}}]},
        "Missing required parameter: 'tools[0].function.name'.",
        param="tools[0].function.name",
        code="missing_required_parameter",
    ),
    refused("missing-type", MODEL | {"tools": [{}]}, "Missing required parameter: 'tools[0].type'.", param="tools[0].type", code="missing_required_parameter"),
    refused("unknown", MODEL | {"x": 1}, "Unknown parameter: 'x'.", param="x", code="unknown_parameter"),
    refused(
        "unknown-deep",
        {"messages": [A_MESSAGE | {"colour": 1}]},
        "Unknown parameter: 'messages[0].colour'.",
        param="messages[0].colour",
        code="unknown_parameter",
        path="/threads",
    ),
    refused("type", {"model": 7}, "Invalid type for 'model': expected a string, but got an integer instead.", param="model", code="invalid_type"),
    refused("type-null", {"model": None}, "Invalid type for 'model': expected a string, but got null instead.", param="model", code="invalid_type"),
    refused(
        "type-of-metadata",
        MODEL | {"metadata": {"a": 1}},
        "Invalid type for 'metadata.a': expected a string, but got an integer instead.",
        param="metadata.a",
        code="invalid_type",
    ),
    refused(
        "type-of-a-list",
        {"file_ids": "file-1"},
        "Invalid type for 'file_ids': expected an array, but got a string instead.",
        param="file_ids",
        code="invalid_type",
        path="/vector_stores",
    ),
    refused(
        "value",
        A_MESSAGE | {"role": "x"},
        "Invalid value: 'x'. Supported values are: 'user', 'assistant'.",
        param="role",
        code="invalid_value",
        path=thread_path("/messages"),
    ),
    refused(
        "value-of-a-type",
        MODEL | {"tools": [{"type": "x"}]},
        "Invalid value: 'x'. Supported values are: 'code_interpreter', 'file_search', 'function'.",
        param="tools[0].type",
        code="invalid_value",
    ),
    refused(
        "string-too-long",
        MODEL | {"name": "n" * 300},
        "Invalid 'name': string too long. Expected a string with maximum length 256, but got a string with length 300 instead.",
        param="name",
        code="string_above_max_length",
    ),
    refused(
        "description-too-long",
        MODEL | {"description": "n" * 513},
        "Invalid 'description': string too long. Expected a string with maximum length 512, but got a string with length 513 instead.",
        param="description",
        code="string_above_max_length",
    ),
    refused(
        "instructions-too-long",
        MODEL | {"instructions": "n" * 256_001},
        "Invalid 'instructions': string too long. Expected a string with maximum length 256000, but got a string with length 256001 instead.",
        param="instructions",
        code="string_above_max_length",
    ),
    refused(
        "message-too-long",
        {"role": "user", "content": "n" * 256_001},
        "Invalid 'content': string too long. Expected a string with maximum length 256000, but got a string with length 256001 instead.",
        param="content",
        code="string_above_max_length",
        path=thread_path("/messages"),
    ),
    refused(
        "metadata-value-too-long",
        MODEL | {"metadata": {"a": "n" * 513}},
        "Invalid 'metadata.a': string too long. Expected a string with maximum length 512, but got a string with length 513 instead.",
        param="metadata.a",
        code="string_above_max_length",
    ),
    refused(
        "metadata-key-too-long",
        MODEL | {"metadata": {"k" * 65: ""}},
        "Invalid 'metadata': key too long. Expected a key with maximum length 64, but got a key with length 65 instead.",
        param="metadata",
        code="string_above_max_length",
    ),
    refused(
        "too-many-pairs",
        MODEL | {"metadata": {str(number): "" for number in range(17)}},
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an object with 17 properties instead.",
        param="metadata",
        code="object_above_max_properties",
    ),
    refused(
        "too-many-tools",
        MODEL | {"tools": [{"type": "function", "function": {"name": f"f{number}"}} for number in range(129)]},
        "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 129 instead.",
        param="tools",
        code="array_above_max_length",
    ),
    refused(
        "too-many-code-files",
        MODEL | {"tool_resources": {"code_interpreter": {"file_ids": ["file-1"] * 21}}},
        "Invalid 'tool_resources.code_interpreter.file_ids': array too long. "
        "Expected an array with maximum length 20, but got an array with length 21 instead.",
        param="tool_resources.code_interpreter.file_ids",
        code="array_above_max_length",
    ),
    refused(
        "too-many-stores",
        {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1", "vs_2"]}}},
        "Invalid 'tool_resources.file_search.vector_store_ids': array too long. "
        "Expected an array with maximum length 1, but got an array with length 2 instead.",
        param="tool_resources.file_search.vector_store_ids",
        code="array_above_max_length",
        path="/threads",
    ),
    refused(
        "too-many-files-of-a-new-store",
        {"file_ids": ["file-1"] * 501},
        "Invalid 'file_ids': array too long. Expected an array with maximum length 500, but got an array with length 501 instead.",
        param="file_ids",
        code="array_above_max_length",
        path="/vector_stores",
    ),
    refused(
        "no-content",
        {"role": "user", "content": []},
        "Invalid 'content': array too short. Expected an array with minimum length 1, but got an array with length 0 instead.",
        param="content",
        code="array_below_min_length",
        path=thread_path("/messages"),
    ),
    refused(
        "integer-too-small",
        {"assistant_id": "asst_1", "max_prompt_tokens": 255},
        "Invalid 'max_prompt_tokens': integer below minimum value. Expected a value >= 256, but got 255 instead.",
        param="max_prompt_tokens",
        code="integer_below_min_value",
        path=thread_path("/runs"),
    ),
    refused(
        "integer-too-large",
        {"expires_after": {"anchor": "last_active_at", "days": 366}},
        "Invalid 'expires_after.days': integer above maximum value. Expected a value <= 365, but got 366 instead.",
        param="expires_after.days",
        code="integer_above_max_value",
        path="/vector_stores",
    ),
    refused(
        "decimal-too-large",
        MODEL | {"temperature": 2.5},
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2.0, but got 2.5 instead.",
        param="temperature",
        code="decimal_above_max_value",
    ),
    refused(
        "decimal-too-small",
        MODEL | {"top_p": -0.5},
        "Invalid 'top_p': decimal below minimum value. Expected a value >= 0.0, but got -0.5 instead.",
        param="top_p",
        code="decimal_below_min_value",
    ),
    refused(
        "results-too-many",
        MODEL | {"tools": [{"type": "file_search", "file_search": {"max_num_results": 51}}]},
        "Invalid 'tools[0].file_search.max_num_results': integer above maximum value. Expected a value <= 50, but got 51 instead.",
        param="tools[0].file_search.max_num_results",
        code="integer_above_max_value",
    ),
    refused(
        "chunks-too-small",
        {"chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 99, "chunk_overlap_tokens": 0}}},
        "Invalid 'chunking_strategy.static.max_chunk_size_tokens': integer below minimum value. Expected a value >= 100, but got 99 instead.",
        param="chunking_strategy.static.max_chunk_size_tokens",
        code="integer_below_min_value",
        path="/vector_stores",
    ),
    refused(
        "stores-with-what-is-changed",
        {"tool_resources": {"file_search": {"vector_stores": []}}},
        "Unknown parameter: 'tool_resources.file_search.vector_stores'.",
        param="tool_resources.file_search.vector_stores",
        code="unknown_parameter",
        path=thread_path(""),
    ),
    refused(
        "pattern",
        MODEL | {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "Invalid 'tools[0].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]{1,64}$'.",
        param="tools[0].function.name",
        code="invalid_value",
    ),
    Row(
        "limit-too-large",
        "/assistants?limit=101",
        "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
        method="GET",
        param="limit",
        code="integer_above_max_value",
    ),
    Row(
        "limit-too-small",
        "/files?limit=-1",
        "Invalid 'limit': integer below minimum value. Expected a value >= 0, but got -1 instead.",
        method="GET",
        param="limit",
        code="integer_below_min_value",
    ),
    Row(
        "limit-of-files-too-large",
        "/files?limit=10001",
        "Invalid 'limit': integer above maximum value. Expected a value <= 10000, but got 10001 instead.",
        method="GET",
        param="limit",
        code="integer_above_max_value",
    ),
    Row(
        "order",
        "/vector_stores?order=up",
        "Invalid value: 'up'. Supported values are: 'asc', 'desc'.",
        method="GET",
        param="order",
        code="invalid_value",
    ),
]


@pytest.fixture
def world(server: LiveServer, client: openai.OpenAI) -> World:
    return World(server, client)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_error_is_told_in_the_api_s_own_words(world: World, row: Row) -> None:
    if row.given:
        getattr(world, row.given)()
    path, message, body = (each(world) if callable(each) else each for each in (row.path, row.message, row.body))

    response = httpx.request(row.method, world.server.url + path, json=body)

    assert response.json() == {"error": {"message": message, "type": "invalid_request_error", "param": row.param, "code": row.code}}
    assert (response.status_code, response.headers["content-type"]) == (row.status, "application/json")


def test_outputs_are_refused_while_the_model_speaks(world: World) -> None:
    world.with_an_active_run()
    while world.client.beta.threads.runs.retrieve(world.run, thread_id=world.thread).status != "in_progress":
        pass

    with pytest.raises(openai.BadRequestError) as error:
        world.client.beta.threads.runs.submit_tool_outputs(world.run, thread_id=world.thread, tool_outputs=[])

    assert error.value.body["message"] == 'Runs in status "in_progress" do not accept tool outputs.'
