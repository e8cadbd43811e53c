"""Threads that outgrow the model's context: what the model still reads, and what a client is told of the rest."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.beta import Assistant, Thread
from openai.types.beta.threads import Run

from offline_assistants.ports import Logs
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.api.test_runs import WEATHER

CODE = [{"type": "code_interpreter"}]


def say(client: openai.OpenAI, thread: Thread, text: str, *, role: Any = "user") -> str:
    return client.beta.threads.messages.create(thread.id, role=role, content=text).id


def run_to_end(client: openai.OpenAI, assistant: Assistant, thread: Thread, **options: Any) -> Run:
    return client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20, **options)


def answer(client: openai.OpenAI, run: Run, output: str) -> Run:
    calls = run.required_action.submit_tool_outputs.tool_calls
    outputs = [{"tool_call_id": call.id, "output": output} for call in calls]
    return client.beta.threads.runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs, poll_interval_ms=20)


def steps_of(client: openai.OpenAI, run: Run) -> list[Any]:
    return list(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc"))


def first_words(engine: ScriptedEngine) -> list[str]:
    return [message.content.split()[0] for message in engine.chats[-1].messages if message.content]


def test_what_was_dropped_from_the_middle_is_named_in_the_step(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    ids = [say(client, thread, f"number{number} " + "word " * 900) for number in range(12)]

    run = run_to_end(client, assistant, thread)

    [step] = steps_of(client, run)
    assert first_words(engine) == ["Be", "Hello?", *(f"number{number}" for number in range(5, 12))]
    assert step.truncation == {
        "num_dropped_messages": 5,
        "first_dropped_id": ids[0],
        "last_dropped_id": ids[4],
        "num_dropped_tool_calls": 0,
        "num_cut_characters": 0,
    }
    assert len(client.beta.threads.messages.list(thread.id, limit=100).data) == 14


def test_the_newest_n_messages_are_kept_and_the_rest_is_named(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    ids = [say(client, thread, f"number{number}") for number in range(5)]

    run = run_to_end(client, assistant, thread, truncation_strategy={"type": "last_messages", "last_messages": 2})

    [step] = steps_of(client, run)
    assert first_words(engine) == ["Be", "number3", "number4"]
    assert (step.truncation["num_dropped_messages"], step.truncation["last_dropped_id"]) == (4, ids[2])


def test_the_newest_n_messages_need_their_number(client: openai.OpenAI, assistant: Assistant, thread: Thread) -> None:
    with pytest.raises(openai.BadRequestError, match=r"Missing required parameter: 'truncation_strategy\.last_messages'\."):
        run_to_end(client, assistant, thread, truncation_strategy={"type": "last_messages"})


def test_a_thread_that_is_read_whole_has_nothing_to_tell(client: openai.OpenAI, assistant: Assistant, thread: Thread) -> None:
    say(client, thread, "Once more.")

    run = run_to_end(client, assistant, thread)

    [step] = steps_of(client, run)
    assert "truncation" not in step.model_fields_set


@pytest.mark.parametrize("num_words", [100, 7000])
def test_a_tool_exchange_is_kept_whole_or_not_at_all(
    client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread, num_words: int
) -> None:
    engine.will_call("get_weather", '{"city": "Paris"}')
    engine.will_say("Sunny.")
    answer(client, run_to_end(client, assistant, thread, tools=[WEATHER]), "sun " * num_words)
    say(client, thread, "And now? " + "word " * 500)

    run_to_end(client, assistant, thread)

    roles = [message.role for message in engine.chats[-1].messages]
    calls = [call for message in engine.chats[-1].messages for call in message.tool_calls]
    assert (roles.count("tool"), len(calls)) == ((1, 1) if num_words == 100 else (0, 0))
    assert roles[-2:] == ["assistant", "user"]


def test_a_question_is_kept_however_many_answers_came_after_it(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    say(client, thread, "The-question stands.")
    for _ in range(40):
        say(client, thread, "answer " * 400, role="assistant")

    run = run_to_end(client, assistant, thread)

    assert run.status == "completed"
    assert first_words(engine)[:4] == ["Be", "Hello?", "The-question", "answer"]


def test_a_message_larger_than_the_context_fails_in_words(client: openai.OpenAI, assistant: Assistant, thread: Thread) -> None:
    say(client, thread, "word " * 9000)

    run = run_to_end(client, assistant, thread)

    assert (run.status, run.last_error.code) == ("failed", "invalid_prompt")
    assert "Shorten the newest message, or serve the model with a larger context (--context-tokens)." in run.last_error.message
    assert "about 9008 tokens" in run.last_error.message


def test_instructions_larger_than_the_context_fail_in_words(client: openai.OpenAI, assistant: Assistant, thread: Thread) -> None:
    run = run_to_end(client, assistant, thread, instructions="word " * 9000)

    assert (run.status, run.last_error.code) == ("failed", "invalid_prompt")
    assert "Shorten the instructions and tools" in run.last_error.message


def test_a_tool_output_larger_than_the_context_fails_in_words(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("get_weather", "{}")

    run = answer(client, run_to_end(client, assistant, thread, tools=[WEATHER]), "sun " * 9000)

    assert (run.status, run.last_error.code) == ("failed", "invalid_prompt")
    assert "Shorten the newest tool calls with their outputs" in run.last_error.message
    client.beta.threads.messages.create(thread.id, role="user", content="The thread goes on.")


def test_a_huge_output_of_code_loses_its_middle_in_the_prompt_only(
    client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread
) -> None:
    sandbox.will_emit([Logs("first " + "line " * 20_000 + "last")])
    engine.will_call("code_interpreter", "print(1)")
    engine.will_say("Many lines.")

    run = run_to_end(client, assistant, thread, tools=CODE)

    call, message = steps_of(client, run)
    read = engine.chats[-1].messages[-1].content
    assert run.status == "completed"
    assert read.startswith("first") and read.endswith("last") and "characters left out" in read
    assert len(call.step_details.tool_calls[0].code_interpreter.outputs[0].logs) == 100_010
    assert message.truncation["num_cut_characters"] > 60_000


def test_a_run_that_outgrows_the_context_loses_its_oldest_calls(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    for number in range(4):
        engine.will_call("get_weather", f'{{"city": "{number}"}}')
    engine.will_say("Done.")

    run = run_to_end(client, assistant, thread, tools=[WEATHER])
    while run.status == "requires_action":
        run = answer(client, run, "sun " * 2500)

    steps = steps_of(client, run)
    cities = [call.arguments for message in engine.chats[-1].messages for call in message.tool_calls]
    assert run.status == "completed"
    assert cities == ['{"city": "2"}', '{"city": "3"}']
    assert [step.model_extra.get("truncation", {}).get("num_dropped_tool_calls", 0) for step in steps] == [0, 0, 0, 1, 2]


def test_a_text_is_counted_once(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("code_interpreter", "print(1)")
    run_to_end(client, assistant, thread, tools=CODE)
    say(client, thread, "Once more.")

    run_to_end(client, assistant, thread)

    assert sorted(engine.counted_texts) == sorted(set(engine.counted_texts))
    assert sum("Hello?" in text for text in engine.counted_texts) == 1
