"""The stream helpers of several SDKs against a running server: each accumulates its own snapshots, and they have to be what the server keeps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.beta import Assistant, Thread

from offline_assistants.errors import EngineError
from offline_assistants.ports import Image, Logs, ParsedDocument
from offline_assistants.testing.hash_documents import HashDocuments
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.api.clients.programs import PYTHON_VERSIONS, ClientProgram, node_program, python_program
from tests.api.conftest import LiveServer
from tests.api.test_runs import WEATHER, wait_until
from tests.api.test_tools import CODE, SEARCH, handbook_store, searching_thread

pytestmark = pytest.mark.timeout(300)  # the first test of a client installs it
PYTHONS = [f"python {version}" for version in ("installed", *PYTHON_VERSIONS)]


@pytest.fixture(scope="module", params=[*PYTHONS, "node"])
def program(request: pytest.FixtureRequest) -> Iterator[ClientProgram]:
    made = node_program() if request.param == "node" else python_program(request.param.removeprefix("python "))
    yield made
    made.close()


@pytest.fixture(scope="module", params=PYTHONS)
def python(request: pytest.FixtureRequest) -> Iterator[ClientProgram]:
    made = python_program(request.param.removeprefix("python "))
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One for all: what is told here, one server has to tell in any order."""
    live = LiveServer(tmp_path_factory.mktemp("server") / "data").start()
    yield live
    live.stop()


def job(server: LiveServer, thread: Thread, assistant: Assistant, **more: Any) -> dict[str, Any]:
    return {"url": server.url, "way": "follow", "thread_id": thread.id, "assistant_id": assistant.id, **more}


def texts_of(message: dict[str, Any]) -> list[str]:
    return [part["text"]["value"] for part in message["content"] if part["type"] == "text"]


def functions(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [call["function"] for step in steps for call in step["step_details"].get("tool_calls") or []]


# ── Streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_text(program: ClientProgram, server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("Grüße aus Köln, 你好 🎉!")

    outcome = program.do(**job(server, thread, assistant))

    assert outcome["run"]["status"] == "completed"
    assert outcome["texts"] == ["Grüße aus Köln, 你好 🎉!"]
    assert [texts_of(message) for message in outcome["messages"]] == [outcome["texts"]]
    assert outcome["snapshots"] == outcome["events"].count("thread.message.delta") == 5


def test_code_with_logs_and_pictures(
    program: ClientProgram, server: LiveServer, client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread
) -> None:
    engine.will_call("code_interpreter", "plot( 1 )").then_call("code_interpreter", "plot( 2 )")
    engine.will_say("Here they are.")
    first_run = [Logs("one "), Logs("two\n"), Image(b"\x89PNG 1", "1.png"), Logs("three\n")]
    sandbox.will_always_emit(lambda code: first_run if "1" in code else [Image(b"\x89PNG 2", "2.png")])

    outcome = program.do(**job(server, thread, assistant, options={"tools": CODE}))

    first, second = (call["code_interpreter"] for call in outcome["steps"][0]["step_details"]["tool_calls"])
    assert (first["input"], second["input"]) == ("plot( 1 )", "plot( 2 )")
    assert [output.get("logs") for output in first["outputs"]] == ["one two\n", None, "three\n"]
    assert [part["type"] for part in outcome["messages"][0]["content"]] == ["image_file", "image_file", "text"]
    assert texts_of(outcome["messages"][0]) == ["Here they are."]


def test_a_search_with_its_citation(program: ClientProgram, server: LiveServer, client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant) -> None:
    thread = searching_thread(client, handbook_store(client))
    engine.will_call("file_search", '{"query": "paddock"}')
    engine.will_say("The llama paddock is closed from November to March. Enjoy!")

    outcome = program.do(**job(server, thread, assistant, options={"tools": SEARCH}))

    [part] = outcome["messages"][0]["content"]
    [annotation] = part["text"]["annotations"]
    assert part["text"]["value"][annotation["start_index"] : annotation["end_index"]] == annotation["text"]
    assert outcome["done_steps"][0]["step_details"]["tool_calls"][0]["file_search"]["results"][0]["file_name"] == "handbook.md"
    assert outcome["steps"][0]["step_details"]["tool_calls"][0]["type"] == "file_search"


def test_functions_and_the_stream_behind_them(program: ClientProgram, server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("Let me look.").then_call("get_weather", '{"city": "Rome"}').then_call("get_weather", '{"city": "Oslo"}')
    engine.will_call("get_weather", "{}")
    engine.will_say("Sunny everywhere.")

    outcome = program.do(**job(server, thread, assistant, options={"tools": [WEATHER]}, output="sunny"))

    called = [("get_weather", '{"city": "Rome"}'), ("get_weather", '{"city": "Oslo"}'), ("get_weather", "{}")]
    assert outcome["run"]["status"] == "completed"
    assert [(call["name"], call["arguments"]) for call in functions(outcome["steps"])] == called
    assert [(call["name"], call["arguments"], call["output"]) for call in functions(outcome["done_steps"])] == [(*call, "sunny") for call in called]
    assert outcome["texts"] == ["Let me look.", "Sunny everywhere."]
    assert outcome["events"].count("thread.run.requires_action") == 2


# ── Endings ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_ends_at_requires_action(program: ClientProgram, server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("get_weather", '{"city": "Rome"}')

    outcome = program.do(**job(server, thread, assistant, options={"tools": [WEATHER]}))

    [call] = outcome["run"]["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": '{"city": "Rome"}'}


def test_it_ends_failed(program: ClientProgram, server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("So far").then_fail(EngineError("It fell over."))

    outcome = program.do(**job(server, thread, assistant))

    assert outcome["run"]["last_error"] == {"code": "server_error", "message": "It fell over."}
    assert [texts_of(message) for message in outcome["messages"]] == [["So far"]]
    assert outcome["events"][-3:] == ["thread.message.incomplete", "thread.run.step.failed", "thread.run.failed"]


def test_it_ends_cancelled(program: ClientProgram, server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("It was a dark").then_wait()

    outcome = program.do(**job(server, thread, assistant, cancel_at="dark"))

    assert outcome["run"]["status"] == "cancelled"
    assert outcome["events"][-4:] == ["thread.run.cancelling", "thread.message.incomplete", "thread.run.step.cancelled", "thread.run.cancelled"]


def test_it_ends_incomplete(program: ClientProgram, server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("word " * 300)

    outcome = program.do(**job(server, thread, assistant, options={"max_completion_tokens": 256}))

    assert outcome["run"]["incomplete_details"] == {"reason": "max_completion_tokens"}
    assert outcome["snapshots"] == 256


class StuckDocuments(HashDocuments):
    """Never done with a file."""

    async def parse(self, filename: str, content: bytes) -> ParsedDocument:
        await asyncio.sleep(3600)
        return await super().parse(filename, content)


def test_it_ends_expired(program: ClientProgram, tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data", documents=StuckDocuments(), settings={"run_expires_after_s": 1}).start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        file = client.files.create(file=("a.txt", b"text"), purpose="assistants")
        attachments: Any = [{"file_id": file.id, "tools": [{"type": "file_search"}]}]
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hi", "attachments": attachments}])
        assistant = client.beta.assistants.create(model="scripted", tools=[{"type": "file_search"}])

        outcome = program.do(**job(live, thread, assistant))
    live.stop()

    assert outcome["run"]["status"] == "expired"
    assert outcome["events"] == ["thread.run.created", "thread.run.queued", "thread.run.expired"]


def test_it_ends_with_an_error_when_the_server_stops(program: ClientProgram, tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data").start()
    live.engine.will_say("Half a").then_wait()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hi"}])
        assistant = client.beta.assistants.create(model="scripted")

        def stop() -> None:
            wait_until(lambda: len(client.beta.threads.messages.list(thread.id).data) == 2, timeout_s=20)
            live.stop()

        stopping = threading.Thread(target=stop)
        stopping.start()
        outcome = program.do(**job(live, thread, assistant))
        stopping.join()

    assert outcome["error_class"] == "APIError"
    assert "The server stops." in outcome["error"]
    assert outcome["events"][:3] == ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]


def test_a_refusal_is_an_ordinary_error(program: ClientProgram, server: LiveServer, assistant: Assistant, thread: Thread) -> None:
    outcome = program.do(**job(server, thread, assistant, options={"temperature": 3}))

    assert outcome["error_class"] == "BadRequestError"
    assert "temperature" in outcome["error"]


# ── The helpers that poll ────────────────────────────────────────────────────────────────────────────────────────────


def test_create_and_poll(python: ClientProgram, server: LiveServer, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("get_weather", "{}")
    engine.will_say("Fine.")

    outcome = python.do(**job(server, thread, assistant, way="poll", options={"tools": [WEATHER]}, output="sunny"))

    assert outcome["run"]["status"] == "completed"


def test_upload_and_poll(python: ClientProgram, server: LiveServer) -> None:
    outcome = python.do(url=server.url, way="upload", text="The paddock is closed.")

    assert (outcome["file"]["status"], outcome["batch"]["status"]) == ("completed", "completed")
    assert outcome["batch"]["file_counts"]["completed"] == 3
    assert outcome["store"]["file_counts"]["total"] == 4


def test_upload_file_chunked(python: ClientProgram, server: LiveServer) -> None:
    outcome = python.do(url=server.url, way="upload_in_parts", text="part " * 50, part_size=64)

    assert (outcome["upload"]["status"], outcome["content"]) == ("completed", "part " * 50)
