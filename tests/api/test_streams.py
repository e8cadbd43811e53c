"""What goes over the wire while a run streams: order, keys, endings, pace; whoever reads it, however slowly."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
from openai.types.beta import Assistant, Thread

from offline_assistants.errors import EngineError
from offline_assistants.ports import Image, Logs
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.api.conftest import LiveServer
from tests.api.test_runs import WEATHER, wait_until
from tests.api.test_tools import CODE, SEARCH, handbook_store, searching_thread

START = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
STEP = ["thread.run.step.created", "thread.run.step.in_progress"]
MESSAGE = [*STEP, "thread.message.created", "thread.message.in_progress", "thread.message.delta"]
SPOKEN = [*MESSAGE, "thread.message.completed", "thread.run.step.completed"]
TOOLS = [*STEP, "thread.run.step.delta"]


def events_of(body: bytes) -> list[tuple[str, Any]]:
    """Names and data of the frames, comments left out. Every frame is two lines and an empty one."""
    frames = [frame for frame in body.decode().split("\n\n") if frame and not frame.startswith(":")]
    pairs = [frame.split("\n") for frame in frames]
    assert all(len(pair) == 2 and pair[0].startswith("event: ") and pair[1].startswith("data: ") for pair in pairs)
    return [(name.removeprefix("event: "), text if (text := data.removeprefix("data: ")) == "[DONE]" else json.loads(text)) for name, data in pairs]


def stream(server: LiveServer, path: str, **body: Any) -> list[tuple[str, Any]]:
    response = httpx.post(f"{server.url}/threads/{path}", json={"stream": True, **body}, timeout=15)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    return events_of(response.content)


def story(events: Sequence[tuple[str, Any]]) -> list[str]:
    """The names; of neighbours with the same name, one."""
    names = [name for name, _ in events]
    return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]


# ── Order ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_text_answer(server: LiveServer, assistant: Assistant, thread: Thread) -> None:
    events = stream(server, f"{thread.id}/runs", assistant_id=assistant.id)

    assert story(events) == [*START, *SPOKEN, "thread.run.completed", "done"]
    assert events[-1] == ("done", "[DONE]")


def test_a_thread_made_on_the_way_comes_first(server: LiveServer, assistant: Assistant) -> None:
    events = stream(server, "runs", assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]})

    assert story(events) == ["thread.created", *START, *SPOKEN, "thread.run.completed", "done"]
    assert events[0][1]["object"] == "thread"


def test_an_answer_with_code(server: LiveServer, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("code_interpreter", "plot( 1 )")
    engine.will_say("Here.")
    sandbox.will_emit([Logs("a"), Image(b"\x89PNG", "x.png"), Logs("b")])

    events = stream(server, f"{thread.id}/runs", assistant_id=assistant.id, tools=CODE)

    assert story(events) == [*START, *TOOLS, "thread.run.step.completed", *SPOKEN, "thread.run.completed", "done"]
    calls = [data["delta"]["step_details"]["tool_calls"] for name, data in events if name == "thread.run.step.delta"]
    assert [call["index"] for [call] in calls] == [0] * len(calls)
    assert [(output["index"], output["type"]) for [call] in calls for output in call["code_interpreter"].get("outputs", [])] == [
        (0, "logs"),
        (1, "image"),
        (2, "logs"),
    ]
    parts = [data["delta"]["content"][0] for name, data in events if name == "thread.message.delta"]
    assert [(part["index"], part["type"]) for part in parts] == [(0, "image_file"), (1, "text")]


def test_an_answer_with_a_search(server: LiveServer, client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant) -> None:
    thread = searching_thread(client, handbook_store(client))
    engine.will_call("file_search", '{"query": "paddock"}')
    engine.will_say("The llama paddock is closed from November to March.")

    events = stream(server, f"{thread.id}/runs", assistant_id=assistant.id, tools=SEARCH)

    assert story(events) == [*START, *TOOLS, "thread.run.step.completed", *SPOKEN, "thread.run.completed", "done"]
    [[call]] = [data["delta"]["step_details"]["tool_calls"] for name, data in events if name == "thread.run.step.delta"]
    assert call | {"id": ""} == {"index": 0, "id": "", "type": "file_search", "file_search": {}}
    texts = [data["delta"]["content"][0]["text"] for name, data in events if name == "thread.message.delta"]
    annotations = [each for text in texts for each in text.get("annotations", [])]
    assert [each["index"] for each in annotations] == list(range(len(annotations))) == [0]
    value = "".join(text["value"] for text in texts)
    assert value[annotations[0]["start_index"] : annotations[0]["end_index"]] == annotations[0]["text"]


def test_a_function_and_the_stream_that_goes_on_behind_it(server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("Let me look.").then_call("get_weather", '{"city": "Rome"}').then_call("get_weather", '{"city": "Oslo"}')

    first = stream(server, f"{thread.id}/runs", assistant_id=assistant.id, tools=[WEATHER])
    run = first[-2][1]
    outputs = [{"tool_call_id": call["id"], "output": "fine"} for call in run["required_action"]["submit_tool_outputs"]["tool_calls"]]
    second = stream(server, f"{thread.id}/runs/{run['id']}/submit_tool_outputs", tool_outputs=outputs)

    assert story(first) == [*START, *SPOKEN, *TOOLS, "thread.run.requires_action", "done"]
    calls = [data["delta"]["step_details"]["tool_calls"][0] for name, data in first if name == "thread.run.step.delta"]
    begun = [call for call in calls if "id" in call]
    assert [call["index"] for call in calls] == [0, 0, 0, 1, 1, 1]
    assert [call["function"] for call in begun] == [{"name": "get_weather", "arguments": "", "output": None}] * 2
    assert story(second) == ["thread.run.step.completed", *START[1:], *SPOKEN, "thread.run.completed", "done"]
    assert [call["function"]["output"] for call in second[0][1]["step_details"]["tool_calls"]] == ["fine", "fine"]


def test_code_and_a_function_in_one_round(server: LiveServer, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("code_interpreter", "1").then_call("get_weather", "{}")
    sandbox.will_emit([Logs("1\n")])

    first = stream(server, f"{thread.id}/runs", assistant_id=assistant.id, tools=[*CODE, WEATHER])
    [call] = first[-2][1]["required_action"]["submit_tool_outputs"]["tool_calls"]
    path = f"{thread.id}/runs/{first[-2][1]['id']}/submit_tool_outputs"
    second = stream(server, path, tool_outputs=[{"tool_call_id": call["id"], "output": "fine"}])

    assert story(first) == [*START, *TOOLS, "thread.run.requires_action", "done"]
    assert [each["type"] for each in second[0][1]["step_details"]["tool_calls"]] == ["code_interpreter", "function"]
    assert story(second)[-2:] == ["thread.run.completed", "done"]


def test_text_behind_a_call_is_no_second_message(server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("First.").then_call("get_weather", "{}").then_say("Afterthought.")

    events = stream(server, f"{thread.id}/runs", assistant_id=assistant.id, tools=[WEATHER])

    assert story(events) == [*START, *SPOKEN, *TOOLS, "thread.run.requires_action", "done"]


# ── Endings ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_run(server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("So far").then_fail(EngineError("It fell over."))

    events = stream(server, f"{thread.id}/runs", assistant_id=assistant.id)

    assert story(events) == [*START, *MESSAGE, "thread.message.incomplete", "thread.run.step.failed", "thread.run.failed", "done"]
    assert events[-4][1]["content"][0]["text"]["value"] == "So far"


def test_a_cancelled_run(server: LiveServer, client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("So far").then_wait()
    with httpx.stream("POST", f"{server.url}/threads/{thread.id}/runs", json={"assistant_id": assistant.id, "stream": True}, timeout=15) as response:
        pieces = response.iter_bytes()
        body = _read_until(pieces, b'"So')  # with its quotation mark: an id may hold these letters
        client.beta.threads.runs.cancel(events_of(body.rpartition(b"\n\n")[0])[0][1]["id"], thread_id=thread.id)
        body += b"".join(pieces)

    ending = ["thread.run.cancelling", "thread.message.incomplete", "thread.run.step.cancelled", "thread.run.cancelled", "done"]
    assert story(events_of(body)) == [*START, *MESSAGE, *ending]


def test_an_incomplete_run(server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("word " * 300)

    events = stream(server, f"{thread.id}/runs", assistant_id=assistant.id, max_completion_tokens=256)

    assert story(events) == [*START, *MESSAGE, "thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete", "done"]


def test_a_run_that_fails_before_it_said_anything(server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_fail(EngineError("It fell over."))

    events = stream(server, f"{thread.id}/runs", assistant_id=assistant.id)

    assert story(events) == [*START, "thread.run.failed", "done"]


def test_an_error_in_mid_stream_serves_every_client(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data").start()
    live.engine.will_say("Half").then_wait()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        assistant = client.beta.assistants.create(model="scripted")
        body = {"assistant_id": assistant.id, "stream": True, "thread": {"messages": [{"role": "user", "content": "Hi"}]}}
        with httpx.stream("POST", f"{live.url}/threads/runs", json=body, timeout=15) as response:
            pieces = response.iter_bytes()
            received = _read_until(pieces, b"Half")
            live.stop()
            received += b"".join(pieces)

    (name, error), done = events_of(received)[-2:]
    assert (name, done) == ("error", ("done", "[DONE]"))
    assert error["error"] == {key: error[key] for key in ("code", "message", "param", "type")}
    assert error["message"].startswith("The server stops.")


def test_a_refused_request_is_plain_json(server: LiveServer, assistant: Assistant, thread: Thread) -> None:
    response = httpx.post(f"{server.url}/threads/{thread.id}/runs", json={"assistant_id": assistant.id, "stream": True, "colour": "red"})

    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"]["message"] == "Unknown parameter: 'colour'."


# ── Readers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_silent_stream_carries_comments(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data", settings={"heartbeat_s": 0.05}).start()
    live.engine.will_wait()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        assistant = client.beta.assistants.create(model="scripted")
        body = {"assistant_id": assistant.id, "stream": True, "thread": {"messages": [{"role": "user", "content": "Hi"}]}}
        with httpx.stream("POST", f"{live.url}/threads/runs", json=body, timeout=15) as response:
            pieces = response.iter_bytes()
            received = _read_until(pieces, b": still here\n\n: still here\n\n")
            live.engine.release()
            received += b"".join(pieces)
    live.stop()

    assert story(events_of(received))[-2:] == ["thread.run.completed", "done"]


def test_a_reader_that_does_not_read_gets_everything_later(
    server: LiveServer, client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread
) -> None:
    engine.will_say(" ".join(f"w{number}" for number in range(4000)))
    body = json.dumps({"assistant_id": assistant.id, "stream": True}).encode()
    head = f"POST /v1/threads/{thread.id}/runs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0), timeout=15) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)

        wait_until(lambda: any(run.status == "completed" for run in client.beta.threads.runs.list(thread.id).data), timeout_s=15)
        received = b"".join(iter(lambda: connection.recv(1 << 16), b""))

    assert received.count(b"event: thread.message.delta") == 4000
    assert b"data: [DONE]" in received


def _read_until(pieces: Iterator[bytes], mark: bytes) -> bytes:
    received, deadline = b"", time.monotonic() + 10
    for piece in pieces:
        received += piece
        if mark in received:
            return received
        assert time.monotonic() < deadline
    raise AssertionError(f"the stream ended without {mark!r}: {received[-300:]!r}")
