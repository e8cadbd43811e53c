"""What a client sees of a run, from queued to its end."""

from __future__ import annotations

import itertools
import json
import threading
import time
from typing import Any

import openai
import pytest
from openai.types.beta import Assistant, Thread

from offline_assistants.errors import EngineBusy, EngineError
from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.api.conftest import LiveServer

WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
}


def names(events: list[Any]) -> list[str]:
    return [event.event for event in events]


def text_of(events: list[Any]) -> str:
    return "".join(part.text.value for event in events if event.event == "thread.message.delta" for part in event.data.delta.content if part.text)


def test_a_stream_tells_the_story_of_a_run(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("Hello there")

    events = list(client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True))

    assert names(events) == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.message.created",
        "thread.message.in_progress",
        "thread.message.delta",
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
    ]
    assert text_of(events) == "Hello there"
    assert events[-1].data.usage.total_tokens == events[-2].data.usage.total_tokens > 0


def test_only_the_first_delta_of_a_part_carries_annotations(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("one two")

    events = list(client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True))

    first, second = (event.data.delta.content[0].text for event in events if event.event == "thread.message.delta")
    assert first.annotations == []
    assert second.annotations is None


def test_the_frames_are_the_hosted_api_s_byte_by_byte(client: openai.OpenAI, assistant: Assistant, thread: Thread) -> None:
    with client.beta.threads.runs.with_streaming_response.create(thread_id=thread.id, assistant_id=assistant.id, stream=True) as response:
        body = response.read()

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    frames = body.decode().removesuffix("\n\n").split("\n\n")
    assert all(len(frame.split("\n")) == 2 and frame.startswith("event: ") for frame in frames)
    assert frames[-1] == "event: done\ndata: [DONE]"


def test_polling_gives_the_same_answer(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("Polled.")

    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)

    [message] = client.beta.threads.messages.list(thread.id, run_id=run.id).data
    assert run.status == "completed"
    assert run.expires_at is None
    assert message.content[0].text.value == "Polled."


def test_the_model_sees_the_instructions_and_the_thread(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("First.")
    client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
    client.beta.threads.messages.create(thread.id, role="user", content="And then?")

    client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, additional_instructions="Now.", poll_interval_ms=20)

    assert [(m.role, m.content) for m in engine.chats[-1].messages] == [
        ("system", "Be brief.\n\nNow."),
        ("user", "Hello?"),
        ("assistant", "First."),
        ("user", "And then?"),
    ]


def test_functions_are_left_to_the_client_and_come_back(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("get_weather", '{"city": "Paris"}')
    engine.will_say("Sunny in Paris.")

    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, tools=[WEATHER], poll_interval_ms=20)
    [call] = run.required_action.submit_tool_outputs.tool_calls
    done = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread.id, tool_outputs=[{"tool_call_id": call.id, "output": "sunny"}], poll_interval_ms=20
    )

    assert run.status == "requires_action"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert done.status == "completed"
    assert engine.chats[-1].messages[-1].content == "sunny"
    assert client.beta.threads.messages.list(thread.id).data[0].content[0].text.value == "Sunny in Paris."


def test_the_streams_of_a_function_call(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("get_weather", '{"city": "Rome"}')
    engine.will_say("Fine.")

    first = list(client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, tools=[WEATHER], stream=True))
    run = first[-1].data
    [call] = run.required_action.submit_tool_outputs.tool_calls
    outputs = [{"tool_call_id": call.id, "output": "24 degrees"}]
    second = list(client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs, stream=True))

    assert names(first)[-1] == "thread.run.requires_action"
    assert names(second)[:3] == ["thread.run.step.completed", "thread.run.queued", "thread.run.in_progress"]
    assert names(second)[-1] == "thread.run.completed"
    assert second[0].data.step_details.tool_calls[0].function.output == "24 degrees"


def test_the_sdk_s_stream_helper_digests_every_delta(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("Let me look.").then_call("get_weather", '{"city": "Oslo"}').then_call("get_weather", '{"city": "Bergen"}')

    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, tools=[WEATHER]) as stream:
        stream.until_done()

    calls = stream.current_run.required_action.submit_tool_outputs.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Oslo", "Bergen"]
    assert stream.get_final_messages()[0].content[0].text.value == "Let me look."


def test_tool_outputs_must_cover_every_call(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("get_weather", "{}").then_call("get_weather", "{}")
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, tools=[WEATHER], poll_interval_ms=20)
    ids = [call.id for call in run.required_action.submit_tool_outputs.tool_calls]

    with pytest.raises(openai.BadRequestError) as error:
        client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=[{"tool_call_id": ids[0], "output": ""}])

    assert error.value.body["message"] == f"Expected tool outputs for call_ids {ids}, got {ids[:1]}"


def test_outputs_for_a_run_that_wants_none_are_refused(client: openai.OpenAI, assistant: Assistant, thread: Thread) -> None:
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)

    with pytest.raises(openai.BadRequestError, match=r'Runs in status "completed" do not accept tool outputs\.'):
        client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=[])


def test_two_submissions_at_once_count_once(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("get_weather", "{}")
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, tools=[WEATHER], poll_interval_ms=20)
    outputs = [{"tool_call_id": run.required_action.submit_tool_outputs.tool_calls[0].id, "output": "x"}]
    answers: list[str] = []

    def submit() -> None:
        try:
            client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs)
            answers.append("taken")
        except openai.BadRequestError:
            answers.append("refused")

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert sorted(answers) == ["refused"] * 3 + ["taken"]


def test_an_active_run_locks_its_thread(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_wait()
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)

    with pytest.raises(openai.BadRequestError) as message_error:
        client.beta.threads.messages.create(thread.id, role="user", content="Wait!")
    with pytest.raises(openai.BadRequestError) as run_error:
        client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)

    assert message_error.value.body["message"] == f"Can't add messages to {thread.id} while a run {run.id} is active."
    assert run_error.value.body["message"] == f"Thread {thread.id} already has an active run {run.id}."
    assert len(client.beta.threads.messages.list(thread.id).data) == 1


def test_a_cancelled_run_stops_the_model_and_unlocks_its_thread(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("It was a dark").then_wait()
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    wait_until(lambda: client.beta.threads.messages.list(thread.id).data[0].role == "assistant")

    cancelling = client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
    done = client.beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=20)

    message = client.beta.threads.messages.list(thread.id).data[0]
    [step] = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    assert (cancelling.status, done.status, step.status, message.status) == ("cancelling", "cancelled", "cancelled", "incomplete")
    assert message.incomplete_details.reason == "run_cancelled"
    assert message.content[0].text.value == "It was a dark"
    assert engine.num_cancelled == 1
    client.beta.threads.messages.create(thread.id, role="user", content="Go on.")


def test_a_run_that_waits_for_outputs_can_be_cancelled(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("get_weather", "{}")
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, tools=[WEATHER], poll_interval_ms=20)

    client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
    done = client.beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=20)

    assert done.status == "cancelled"
    with pytest.raises(openai.BadRequestError, match=r"Cannot cancel run with status 'cancelled'\."):
        client.beta.threads.runs.cancel(run.id, thread_id=thread.id)


def test_a_reader_that_leaves_changes_nothing(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("one two three four five")
    with client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True) as stream:
        run_id = next(iter(stream)).data.id

    done = client.beta.threads.runs.poll(run_id, thread_id=thread.id, poll_interval_ms=20)

    assert done.status == "completed"


@pytest.mark.parametrize(("error", "code"), [(EngineError("The model fell over."), "server_error"), (EngineBusy(), "rate_limit_exceeded")])
def test_a_failing_model_ends_the_run_with_its_reason(
    client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread, error: EngineError, code: str
) -> None:
    engine.will_say("So far").then_fail(error)

    events = list(client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True))

    assert names(events)[-3:] == ["thread.message.incomplete", "thread.run.step.failed", "thread.run.failed"]
    assert (events[-1].data.last_error.code, events[-1].data.last_error.message) == (code, error.message)


def test_a_prompt_that_cannot_fit_fails_in_words(client: openai.OpenAI, assistant: Assistant, thread: Thread) -> None:
    client.beta.threads.messages.create(thread.id, role="user", content="word " * 9000)

    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)

    assert run.status == "failed"
    assert run.last_error.code == "invalid_prompt"
    assert "larger context" in run.last_error.message


def test_a_long_thread_keeps_its_newest_messages(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    for number in range(12):
        client.beta.threads.messages.create(thread.id, role="user", content=f"number{number} " + "word " * 900)

    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)

    said = [message.content.split()[0] for message in engine.chats[-1].messages]
    assert run.status == "completed"
    assert said[-1] == "number11"
    assert said[:2] == ["Be", "Hello?"]
    assert "number1" not in said
    assert len(client.beta.threads.messages.list(thread.id, limit=100).data) == 14


def test_a_token_limit_ends_the_run_as_incomplete(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_say("word " * 400)

    events = list(client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, max_completion_tokens=256, stream=True))

    run = events[-1].data
    assert names(events)[-3:] == ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete"]
    assert run.incomplete_details.reason == "max_completion_tokens"
    assert run.usage.completion_tokens == 256 == events[-2].data.usage.completion_tokens


def test_a_required_tool_binds_the_first_round_only(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("code_interpreter", "print(1)")
    engine.will_say("One.")

    client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, tools=[{"type": "code_interpreter"}], tool_choice="required", poll_interval_ms=20
    )

    assert [chat.tool_choice for chat in engine.chats] == ["required", "auto"]


def test_a_model_that_goes_in_circles_has_to_answer(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    for _ in range(2):
        engine.will_call("code_interpreter", "print(1)")
    engine.will_say("One.")

    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, tools=[{"type": "code_interpreter"}], poll_interval_ms=20)

    assert run.status == "completed"
    assert [chat.tool_choice for chat in engine.chats] == ["auto", "auto", "none"]


def test_an_unanswered_run_expires(tmp_path: Any) -> None:
    live = LiveServer(tmp_path / "data", settings={"run_expires_after_s": 1}).start()
    live.engine.will_call("get_weather", "{}")
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0) as client:
        assistant = client.beta.assistants.create(model="scripted", tools=[WEATHER])
        run = client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]})

        wait_until(lambda: client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status == "expired")

        [step] = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id).data
        assert step.status == "expired"
    live.stop()


def test_two_threads_stream_side_by_side(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant) -> None:
    engine.will_say("a " * 200)
    engine.will_say("b " * 200)
    arrivals: list[str] = []

    def follow() -> None:
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "Count."}])
        for event in client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True):
            if event.event == "thread.message.delta":
                arrivals.append(event.data.delta.content[0].text.value.strip())

    threads = [threading.Thread(target=follow) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    switches = sum(one != other for one, other in itertools.pairwise(arrivals))
    assert switches > 2


def wait_until(condition: Any, timeout_s: float = 8.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)
