"""What a run takes from its assistant, what it may change, and what it reaches while the world around it changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.beta import Assistant, Thread

from offline_assistants.ports import Logs
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.api.conftest import LiveServer
from tests.api.test_ingestion import SlowDocuments, upload
from tests.api.test_runs import WEATHER, wait_until

CODE: Any = {"type": "code_interpreter"}
SEARCH: Any = {"type": "file_search"}
OF_THE_ASSISTANT: dict[str, Any] = {
    "model": "scripted",
    "instructions": "Be brief.",
    "tools": [CODE, WEATHER],
    "temperature": 0.3,
    "top_p": 0.4,
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
}
OF_THE_RUN: dict[str, Any] = {
    "model": "other",
    "instructions": "Be long.",
    "tools": [],
    "temperature": 0.0,
    "top_p": 0.0,
    "reasoning_effort": "high",
    "response_format": {"type": "text"},
}


@pytest.fixture
def documents() -> SlowDocuments:
    return SlowDocuments()


@pytest.fixture
def sandbox() -> ScriptedSandbox:
    return ScriptedSandbox()


@pytest.fixture
def server(tmp_path: Path, documents: SlowDocuments, sandbox: ScriptedSandbox) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path / "data", engine=ScriptedEngine("scripted", "other"), documents=documents, sandbox=sandbox).start()
    yield live
    documents.may_parse.set()
    live.engine.release()
    live.stop()


@pytest.fixture
def rich_assistant(client: openai.OpenAI) -> Assistant:
    return client.beta.assistants.create(**OF_THE_ASSISTANT)


def shown(run: Any) -> dict[str, Any]:
    return {name: value for name, value in run.to_dict().items() if name in OF_THE_ASSISTANT}


def finish(client: openai.OpenAI, run: Any) -> Any:
    return client.beta.threads.runs.poll(run.id, thread_id=run.thread_id, poll_interval_ms=20)


# ── From the assistant to the run ────────────────────────────────────────────────────────────────────────────────────


def test_a_run_takes_from_its_assistant_what_it_does_not_say(client: openai.OpenAI, rich_assistant: Assistant, thread: Thread) -> None:
    run = client.beta.threads.runs.create(thread.id, assistant_id=rich_assistant.id)

    assert shown(run) == OF_THE_ASSISTANT
    assert run.truncation_strategy.to_dict() == {"type": "auto", "last_messages": None}
    assert (run.tool_choice, run.parallel_tool_calls, run.max_prompt_tokens, run.max_completion_tokens) == ("auto", True, None, None)
    assert (run.status, run.started_at, run.usage, run.expires_at) == ("queued", None, None, run.created_at + 600)


@pytest.mark.parametrize("field", OF_THE_RUN)
def test_what_a_run_says_itself_goes_first(client: openai.OpenAI, rich_assistant: Assistant, thread: Thread, field: str) -> None:
    run = client.beta.threads.runs.create(thread.id, assistant_id=rich_assistant.id, **{field: OF_THE_RUN[field]})

    assert shown(run) == OF_THE_ASSISTANT | {field: OF_THE_RUN[field]}
    assert shown(client.beta.assistants.retrieve(rich_assistant.id)) == OF_THE_ASSISTANT


def test_additional_instructions_are_appended_and_additional_messages_come_first(
    client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread
) -> None:
    file_id = upload(client)
    more: Any = [
        {"role": "user", "content": "One.", "attachments": [{"file_id": file_id, "tools": [CODE]}], "metadata": {"n": "1"}},
        {"role": "assistant", "content": [{"type": "text", "text": "Two."}]},
        {"role": "user", "content": "Three."},
    ]

    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, additional_instructions="Now.", additional_messages=more)

    assert finish(client, run).instructions == "Be brief.\n\nNow."
    assert [message.content for message in engine.chats[-1].messages] == ["Be brief.\n\nNow.", "Hello?", "One.", "Two.", "Three."]
    first = client.beta.threads.messages.list(thread.id, order="asc").data[1]
    assert (first.metadata, first.attachments[0].file_id) == ({"n": "1"}, file_id)
    assert client.beta.threads.retrieve(thread.id).tool_resources.code_interpreter.file_ids == [file_id]


def test_a_refused_run_adds_no_messages(client: openai.OpenAI, thread: Thread) -> None:
    more: Any = [{"role": "user", "content": "One."}]

    with pytest.raises(openai.NotFoundError, match="No assistant found with id 'asst_x'"):
        client.beta.threads.runs.create(thread.id, assistant_id="asst_x", additional_messages=more)

    assert len(client.beta.threads.messages.list(thread.id).data) == 1


@pytest.mark.parametrize("place", ["assistant", "run"])
def test_more_than_twenty_tools_are_taken(client: openai.OpenAI, engine: ScriptedEngine, thread: Thread, place: str) -> None:
    tools: Any = [{"type": "function", "function": {"name": f"f{number}"}} for number in range(40)]
    assistant = client.beta.assistants.create(model="scripted", tools=tools if place == "assistant" else [])

    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, **({"tools": tools} if place == "run" else {}))

    assert len(finish(client, run).tools) == 40 == len(engine.chats[-1].tools)


def test_tool_resources_given_with_a_thread_and_a_run_stand_for_the_assistant_s(
    client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox
) -> None:
    own, given, of_thread = (upload(client, name=name) for name in ("own.txt", "given.txt", "thread.txt"))
    assistant = client.beta.assistants.create(model="scripted", tools=[CODE], tool_resources={"code_interpreter": {"file_ids": [own]}})
    engine.will_call("code_interpreter", "1")
    thread: Any = {"messages": [{"role": "user", "content": "Hi"}], "tool_resources": {"code_interpreter": {"file_ids": [of_thread]}}}

    run = client.beta.threads.create_and_run(assistant_id=assistant.id, thread=thread, tool_resources={"code_interpreter": {"file_ids": [given]}})

    assert finish(client, run).status == "completed"
    assert sandbox.calls[0].file_ids == (given, of_thread)
    assert client.beta.assistants.retrieve(assistant.id).tool_resources.code_interpreter.file_ids == [own]
    assert client.beta.threads.retrieve(run.thread_id).tool_resources.code_interpreter.file_ids == [of_thread]


# ── Tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("choice", "word"),
    [
        ("required", "required"),
        ({"type": "function", "function": {"name": "get_weather"}}, "=get_weather"),
        (CODE, "=code_interpreter"),
        (SEARCH, "=file_search"),
    ],
)
def test_a_forced_tool_is_forced_once(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread, choice: Any, word: str) -> None:
    engine.will_call("code_interpreter", "1").then_call("file_search", '{"query": "x"}').then_call("get_weather", "{}")
    tools = [CODE, SEARCH, WEATHER]

    run = finish(client, client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, tools=tools, tool_choice=choice))
    [call] = run.required_action.submit_tool_outputs.tool_calls
    outputs: Any = [{"tool_call_id": call.id, "output": "fine"}]
    done = finish(client, client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs))

    assert (run.status, done.status) == ("requires_action", "completed")
    assert [chat.tool_choice for chat in engine.chats] == [word, "auto"]


@pytest.mark.parametrize("is_parallel", [True, False])
def test_whether_calls_may_be_parallel_is_the_client_s_word(
    client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread, is_parallel: bool
) -> None:
    run = finish(client, client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, tools=[WEATHER], parallel_tool_calls=is_parallel))

    assert run.parallel_tool_calls is engine.chats[0].parallel_tool_calls is is_parallel


# ── The world around a run ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_outlives_its_assistant(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_wait().then_call("get_weather", "{}")
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, tools=[WEATHER])

    client.beta.assistants.delete(assistant.id)
    engine.release()
    run = finish(client, run)
    [call] = run.required_action.submit_tool_outputs.tool_calls
    outputs: Any = [{"tool_call_id": call.id, "output": "fine"}]
    done = finish(client, client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs))

    assert (done.status, done.assistant_id) == ("completed", assistant.id)
    assert len(client.beta.threads.messages.list(thread.id).data) == 2


def test_a_file_that_is_deleted_meanwhile_is_not_there_for_the_code(
    client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant
) -> None:
    file_ids = [upload(client, name=name) for name in ("gone.txt", "kept.txt")]
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hi"}], tool_resources={"code_interpreter": {"file_ids": file_ids}})
    engine.will_wait().then_call("code_interpreter", "1")
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, tools=[CODE])
    wait_until(lambda: len(engine.chats) == 1)

    client.files.delete(file_ids[0])
    engine.release()

    assert finish(client, run).status == "completed"
    assert sandbox.calls[0].file_ids == (file_ids[1],)


def test_a_run_waits_for_its_thread_s_files_and_not_for_its_assistant_s(client: openai.OpenAI, engine: ScriptedEngine, documents: SlowDocuments) -> None:
    documents.may_parse.clear()
    slow = [client.vector_stores.create(file_ids=[upload(client)]).id for _ in range(2)]
    assistant = client.beta.assistants.create(model="scripted", tools=[SEARCH], tool_resources={"file_search": {"vector_store_ids": [slow[0]]}})
    message: Any = {"role": "user", "content": "Hi"}
    free = client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": [message]})
    resources: Any = {"file_search": {"vector_store_ids": [slow[1]]}}
    waiting = client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": [message], "tool_resources": resources})

    assert finish(client, free).status == "completed"
    assert client.beta.threads.runs.retrieve(waiting.id, thread_id=waiting.thread_id).status == "queued"
    documents.may_parse.set()
    assert finish(client, waiting).status == "completed"


@pytest.mark.parametrize("sandbox", [ScriptedSandbox(delay_s=0.02)])
def test_what_code_printed_is_kept_when_it_is_cancelled(client: openai.OpenAI, server: LiveServer, assistant: Assistant, thread: Thread) -> None:
    server.sandbox.will_emit([Logs(f"line {number}\n") for number in range(900)])  # 18 seconds, and a context holds it all
    server.engine.will_say("Let me see.").then_call("code_interpreter", "while True: pass")
    with client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, tools=[CODE], stream=True) as events:
        for event in events:
            if event.event == "thread.run.created":
                run = event.data
            if event.event == "thread.run.step.delta" and (calls := event.data.delta.step_details.tool_calls) and calls[0].code_interpreter.outputs:
                break
        client.beta.threads.runs.cancel(run.id, thread_id=thread.id)

    assert finish(client, run).status == "cancelled"
    step, _ = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    [call] = step.step_details.tool_calls
    assert call.code_interpreter.outputs[0].logs.startswith("line 0\n")
    client.beta.threads.messages.create(thread.id, role="user", content="And?")
    finish(client, client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert server.engine.chats[-1].messages[-2].content.endswith("(stopped before it ended)")
