"""Runs as the official SDK's own helpers follow them: event handlers, pollers, and the streams of tool outputs, to every ending."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AssistantEventHandler, AsyncAssistantEventHandler
from openai.types.beta import Assistant, Thread
from openai.types.beta.threads import Message, Run
from openai.types.beta.threads.runs import RunStep, ToolCall

from offline_assistants.errors import EngineError
from offline_assistants.ports import Image, Logs
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.api.conftest import LiveServer
from tests.api.test_ingestion import SlowDocuments, upload
from tests.api.test_runs import WEATHER, wait_until

CODE = {"type": "code_interpreter"}
SEARCH = {"type": "file_search"}


class Diary(AssistantEventHandler):
    """Writes down what it is told; may act on an event while the stream goes on."""

    def __init__(self, act_on: dict[str, Callable[[Any], object]] | None = None) -> None:
        super().__init__()
        self.told: list[str] = []
        self.messages: list[Message] = []
        self.steps: list[RunStep] = []
        self.calls: dict[str, ToolCall] = {}
        """By id: the helper may call the same call done several times."""
        self.text = ""
        self._act_on = dict(act_on or {})

    def on_event(self, event: Any) -> None:
        if (act := self._act_on.pop(event.event, None)) is not None:
            act(event.data)

    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self.text += delta.value or ""

    def on_message_done(self, message: Message) -> None:
        self.messages.append(message)

    def on_run_step_done(self, run_step: RunStep) -> None:
        self.steps.append(run_step)

    def on_tool_call_done(self, tool_call: ToolCall) -> None:
        self.calls[tool_call.id] = tool_call

    def on_exception(self, exception: Exception) -> None:
        self.told.append(f"exception: {exception}")

    def on_end(self) -> None:
        self.told.append("end")


class Follower:
    """Streams runs of one thread into diaries."""

    def __init__(self, client: openai.OpenAI, assistant: Assistant, thread: Thread) -> None:
        self.client = client
        self._assistant = assistant
        self._thread = thread

    def stream(self, diary: Diary, **options: Any) -> Run:
        with self.client.beta.threads.runs.stream(thread_id=self._thread.id, assistant_id=self._assistant.id, event_handler=diary, **options) as stream:
            stream.until_done()
        assert diary.told == ["end"]
        assert diary.current_run is not None
        self.agrees_with_what_is_kept(diary)
        return diary.current_run

    def answer(self, diary: Diary, run: Run, output: str = "fine") -> Run:
        with self.client.beta.threads.runs.submit_tool_outputs_stream(
            run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs_for(run, output), event_handler=diary
        ) as stream:
            stream.until_done()
        assert diary.told == ["end"]
        assert diary.current_run is not None
        return diary.current_run

    def agrees_with_what_is_kept(self, diary: Diary) -> None:
        """What the helper put together from deltas is what a client finds afterwards."""
        run = diary.current_run
        assert run is not None
        assert self.client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id) == run
        kept = {message.id: message for message in self.client.beta.threads.messages.list(run.thread_id, run_id=run.id)}
        assert {message.id: message for message in diary.messages} == kept
        steps = {step.id: step for step in self.client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id)}
        assert {step.id: steps[step.id] for step in diary.steps} == {step.id: step for step in diary.steps}


@contextmanager
def hasty(folder: Path) -> Iterator[tuple[openai.OpenAI, SlowDocuments, ScriptedEngine]]:
    """A server whose runs expire soon."""
    documents = SlowDocuments()
    live = LiveServer(folder / "data", documents=documents, settings={"run_expires_after_s": 2}).start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        yield client, documents, live.engine
    documents.may_parse.set()
    live.stop()


def outputs_for(run: Run, output: str) -> Any:
    assert run.required_action is not None
    return [{"tool_call_id": call.id, "output": output} for call in run.required_action.submit_tool_outputs.tool_calls]


@pytest.fixture
def follower(client: openai.OpenAI, assistant: Assistant, thread: Thread) -> Follower:
    return Follower(client, assistant, thread)


# ── Endings ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_completes(follower: Follower, engine: ScriptedEngine) -> None:
    engine.will_say("Good morning to you.")

    run = follower.stream(diary := Diary())

    assert (run.status, diary.text) == ("completed", "Good morning to you.")
    assert [message.status for message in diary.messages] == ["completed"]
    assert [step.status for step in diary.steps] == ["completed"]


def test_a_run_that_reaches_its_limit(follower: Follower, engine: ScriptedEngine) -> None:
    engine.will_say("word " * 300)

    run = follower.stream(diary := Diary(), max_completion_tokens=256)

    [message] = diary.messages
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert (message.status, message.incomplete_details.reason, message.content[0].text.value) == ("incomplete", "max_tokens", diary.text)
    assert [step.status for step in diary.steps] == ["completed"]


def test_a_run_that_is_cut_in_the_middle_of_a_call(follower: Follower, engine: ScriptedEngine) -> None:
    engine.will_call("get_weather", "word " * 300)

    run = follower.stream(diary := Diary(), tools=[WEATHER], max_completion_tokens=256)

    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert [(step.status, step.usage.completion_tokens) for step in diary.steps] == [("completed", 256)]


def test_a_run_that_used_up_its_prompt_tokens(follower: Follower, engine: ScriptedEngine, thread: Thread) -> None:
    engine.will_call("code_interpreter", "print(1)")
    follower.client.beta.threads.messages.create(thread.id, role="user", content="word " * 200)

    run = follower.stream(diary := Diary(), tools=[CODE], max_prompt_tokens=300)

    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")
    assert [call.type for call in diary.calls.values()] == ["code_interpreter"]
    assert run.usage.prompt_tokens <= 300


def test_a_run_that_fails(follower: Follower, engine: ScriptedEngine) -> None:
    engine.will_say("So far").then_fail(EngineError("It fell over."))

    run = follower.stream(diary := Diary())

    [message] = diary.messages
    assert (run.status, run.last_error.message) == ("failed", "It fell over.")
    assert (message.incomplete_details.reason, diary.text) == ("run_failed", "So far")
    assert [(step.status, step.last_error.message) for step in diary.steps] == [("failed", "It fell over.")]


def test_a_run_that_is_cancelled_while_it_speaks(follower: Follower, engine: ScriptedEngine) -> None:
    engine.will_say("So far").then_wait()
    runs = follower.client.beta.threads.runs
    diary = Diary({"thread.message.delta": lambda _: runs.cancel(diary.current_run.id, thread_id=diary.current_run.thread_id)})

    run = follower.stream(diary)

    [message] = diary.messages
    assert run.status == "cancelled"
    assert (message.incomplete_details.reason, message.content[0].text.value) == ("run_cancelled", "So far")
    assert [step.status for step in diary.steps] == ["cancelled"]


def test_a_run_that_is_cancelled_while_code_runs(follower: Follower, engine: ScriptedEngine, server: LiveServer) -> None:
    server.sandbox.will_emit([Logs("begun\n")] * 2000)
    engine.will_call("code_interpreter", "while True: pass")
    runs = follower.client.beta.threads.runs
    diary = Diary({"thread.run.step.delta": lambda _: runs.cancel(diary.current_run.id, thread_id=diary.current_run.thread_id)})

    run = follower.stream(diary, tools=[CODE])

    assert run.status == "cancelled"
    assert [step.status for step in diary.steps] == ["cancelled"]
    follower.client.beta.threads.messages.create(run.thread_id, role="user", content="Go on.")
    assert follower.stream(Diary()).status == "completed"


def test_a_run_that_expires_in_the_queue(tmp_path: Path) -> None:
    with hasty(tmp_path) as (client, documents, _):
        documents.may_parse.clear()
        store_id = client.vector_stores.create(file_ids=[upload(client)]).id
        assistant = client.beta.assistants.create(model="scripted", tools=[SEARCH])
        resources: Any = {"file_search": {"vector_store_ids": [store_id]}}
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hi"}], tool_resources=resources)

        run = Follower(client, assistant, thread).stream(diary := Diary())

    assert (run.status, diary.messages, diary.steps) == ("expired", [], [])


def test_a_run_that_nobody_answers(tmp_path: Path) -> None:
    with hasty(tmp_path) as (client, _, engine):
        engine.will_say("Let me look.").then_call("get_weather", "{}")
        assistant = client.beta.assistants.create(model="scripted", tools=[WEATHER])
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hi"}])
        run = Follower(client, assistant, thread).stream(diary := Diary())
        assert run.status == "requires_action"

        wait_until(lambda: client.beta.threads.runs.retrieve(run.id, thread_id=thread.id).status == "expired")

        asking, saying = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
        assert (asking.status, saying.status, diary.text) == ("expired", "completed", "Let me look.")
        assert asking.expired_at >= run.expires_at
        assert client.beta.threads.runs.retrieve(run.id, thread_id=thread.id).usage.total_tokens > 0


# ── Tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_functions_and_the_stream_of_their_outputs(follower: Follower, engine: ScriptedEngine) -> None:
    engine.will_say("Let me look.").then_call("get_weather", '{"city": "Oslo"}').then_call("get_weather", '{"city": "Bergen"}')
    engine.will_say("Rain in both.")

    asking = follower.stream(first := Diary(), tools=[WEATHER])
    done = follower.answer(second := Diary(), asking, "rain")

    assert (asking.status, asking.usage, done.status) == ("requires_action", None, "completed")
    assert [call.function.arguments for call in first.calls.values()] == ['{"city": "Oslo"}', '{"city": "Bergen"}']
    assert (first.text, second.text) == ("Let me look.", "Rain in both.")
    assert [call.function.output for call in second.steps[0].step_details.tool_calls] == ["rain", "rain"]
    kept = follower.client.beta.threads.messages.list(done.thread_id, run_id=done.id, order="asc").data
    assert [message.content[0].text.value for message in kept] == ["Let me look.", "Rain in both."]


def test_a_mixed_round_runs_code_and_asks_for_functions(follower: Follower, engine: ScriptedEngine, sandbox: ScriptedSandbox) -> None:
    sandbox.will_emit([Logs("1\n"), Image(b"\x89PNG", "x.png")])
    engine.will_call("code_interpreter", "plot(1)").then_call("get_weather", "{}")
    engine.will_say("Here.")

    asking = follower.stream(first := Diary(), tools=[CODE, WEATHER])
    done = follower.answer(second := Diary(), asking)

    assert [call.function.name for call in asking.required_action.submit_tool_outputs.tool_calls] == ["get_weather"]
    assert [call.type for call in first.calls.values()] == ["code_interpreter", "function"]
    assert done.status == "completed"
    assert [part.type for part in second.messages[0].content] == ["image_file", "text"]


def test_outputs_are_taken_with_a_stream_after_a_restart(server: LiveServer, follower: Follower, engine: ScriptedEngine) -> None:
    engine.will_call("get_weather", "{}")
    engine.will_say("Rain.")
    asking = follower.stream(Diary(), tools=[WEATHER])

    server.stop()
    server.start()
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0, timeout=15) as client:
        follower.client = client
        done = follower.answer(diary := Diary(), asking, "rain")

    assert (done.status, diary.text) == ("completed", "Rain.")
    assert done.usage.total_tokens == sum(step.usage.total_tokens for step in diary.steps)


def test_outputs_can_be_polled_for(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant) -> None:
    engine.will_call("get_weather", "{}")
    engine.will_say("Fine.")

    asking = client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id, tools=[WEATHER], thread={"messages": [{"role": "user", "content": "Hi"}]}, poll_interval_ms=20
    )
    done = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=asking.id, thread_id=asking.thread_id, tool_outputs=outputs_for(asking, "fine"), poll_interval_ms=20
    )

    assert (asking.status, done.status) == ("requires_action", "completed")


async def test_the_asynchronous_helper_follows_too(server: LiveServer, assistant: Assistant, thread: Thread) -> None:
    server.engine.will_call("get_weather", "{}")
    server.engine.will_say("Rain there.")

    async with openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0, timeout=15) as client:
        runs = client.beta.threads.runs
        async with runs.stream(thread_id=thread.id, assistant_id=assistant.id, tools=[WEATHER], event_handler=AsyncAssistantEventHandler()) as stream:
            await stream.until_done()
        asking = stream.current_run
        async with runs.submit_tool_outputs_stream(run_id=asking.id, thread_id=thread.id, tool_outputs=outputs_for(asking, "rain")) as stream:
            text = "".join([delta async for delta in stream.text_deltas])

    assert (asking.status, stream.current_run.status, text) == ("requires_action", "completed", "Rain there.")


@pytest.mark.parametrize("made_by", ["create", "retrieve", "cancel"])
def test_an_active_run_says_when_to_look_again(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread, made_by: str) -> None:
    engine.will_wait()
    runs = client.beta.threads.runs.with_raw_response
    created = runs.create(thread_id=thread.id, assistant_id=assistant.id)
    run_id = created.parse().id

    response = created if made_by == "create" else getattr(runs, made_by)(run_id, thread_id=thread.id)

    assert response.headers["openai-poll-after-ms"] == "250"
    if made_by == "cancel":
        done = client.beta.threads.runs.poll(run_id, thread_id=thread.id)
        assert done.status == "cancelled"
        assert "openai-poll-after-ms" not in runs.retrieve(run_id, thread_id=thread.id).headers
