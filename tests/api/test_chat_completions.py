"""Chat completions: whole and streamed, tools, formats, several choices, what is stored, and clients that leave."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from offline_assistants.errors import EngineError
from offline_assistants.testing.scripted_engine import ScriptedEngine
from tests.api.conftest import LiveServer

WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
NAMED: Any = {"type": "function", "function": {"name": "get_time"}}
CALL: Any = {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
TIME: Any = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
HELLO: Any = [{"role": "user", "content": "Hello there"}]


def ask(client: openai.OpenAI, **more: Any) -> ChatCompletion:
    return client.chat.completions.create(**{"model": "scripted", "messages": HELLO, **more})


def refusal(client: openai.OpenAI, **more: Any) -> dict[str, Any]:
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, **more)
    return error.value.body


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ── An answer ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_has_its_text_its_usage_and_its_file(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_say("Hello, you.")

    answer = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
    completion = answer.parse()

    assert (completion.model, completion.object, completion.id[:9]) == ("gpt-4o", "chat.completion", "chatcmpl-")
    assert (completion.choices[0].message.content, completion.choices[0].finish_reason) == ("Hello, you.", "stop")
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens == 5 + 2
    assert completion.usage.prompt_tokens_details.cached_tokens == 0
    assert answer.headers["x-model-file"] == completion.x_model_file == "scripted.gguf"
    assert "x-ignored-parameters" not in answer.headers


def test_every_role_reaches_the_model(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]

    ask(
        client,
        tools=[WEATHER],
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "system", "content": parts},
            {"role": "user", "content": parts, "name": "Ada"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": "And now?"},
        ],
    )

    told = [(message.role, message.content) for message in engine.chats[0].messages]
    assert told == [
        ("system", "Be brief."),
        ("system", "one\ntwo"),
        ("user", "one\ntwo"),
        ("assistant", ""),
        ("tool", "sunny"),
        ("assistant", "No."),
        ("user", "And now?"),
    ]
    assert engine.chats[0].messages[3].tool_calls[0].call_id == engine.chats[0].messages[4].tool_call_id == "c1"


def test_an_answer_can_be_sent_back_as_it_came(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_call("get_weather", '{"city": "Rome"}')
    first = ask(client, tools=[WEATHER]).choices[0].message

    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sunny"}
    ask(client, tools=[WEATHER], messages=[*HELLO, first, result])

    assert engine.chats[1].messages[1].tool_calls[0].arguments == '{"city": "Rome"}'


def test_what_is_asked_of_sampling_reaches_the_engine(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    ask(client, temperature=0.5, top_p=0.9, max_tokens=7, stop=["a", "b"], seed=-4, frequency_penalty=1, presence_penalty=-1, logit_bias={"50": -100, "any": 0})
    ask(client, max_completion_tokens=9, stop="x")

    first, second = engine.samplings
    assert (first.temperature, first.top_p, first.max_tokens, first.stop, first.seed) == (0.5, 0.9, 7, ("a", "b"), -4)
    assert (first.frequency_penalty, first.presence_penalty, first.logit_bias, first.top_logprobs) == (1, -1, ((50, -100),), None)
    assert (second.max_tokens, second.stop) == (9, ("x",))


def test_several_choices_have_seeds_of_their_own_and_one_prompt(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    for text in ("one", "two words", "three"):
        engine.will_say(text)

    completion = ask(client, n=3, seed=7)

    assert [choice.message.content for choice in completion.choices] == ["one", "two words", "three"]
    assert [sampling.seed for sampling in engine.samplings] == [7, 8, 9]
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (5, 4)


def test_more_choices_than_are_decoded_at_once_all_come(client: openai.OpenAI) -> None:
    completion = ask(client, n=30)

    assert [choice.index for choice in completion.choices] == list(range(30))


def test_likelihoods_are_told_token_by_token(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_say("Grüße, you")

    tokens = ask(client, logprobs=True, top_logprobs=2).choices[0].logprobs.content

    assert [token.token for token in tokens] == ["Grüße,", " you"]
    assert bytes(tokens[0].bytes).decode() == "Grüße,"
    assert [(top.token, top.logprob) for top in tokens[0].top_logprobs] == [("Grüße,", -0.25), (" other0", -2.0)]


def test_a_limit_and_a_stop_end_an_answer(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_say("one two three")
    engine.will_say("one two three")

    cut, stopped = ask(client, max_tokens=2), ask(client, stop="three")

    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("one two", "length")
    assert (stopped.choices[0].message.content.strip(), stopped.choices[0].finish_reason) == ("one two", "stop")


# ── Tools and formats ────────────────────────────────────────────────────────────────────────────────────────────────


def test_calls_come_with_ids_and_no_text(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_call("get_weather", '{"city": "Rome"}').then_call("get_time", "{}")

    choice = ask(client, tools=[WEATHER, TIME]).choices[0]

    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert [(call.function.name, call.function.arguments) for call in choice.message.tool_calls] == [("get_weather", '{"city": "Rome"}'), ("get_time", "{}")]
    assert len({call.id for call in choice.message.tool_calls}) == 2


@pytest.mark.parametrize(
    ("asked", "tools", "choice"),
    [
        ({}, ["get_weather", "get_time"], "auto"),
        ({"tool_choice": "none"}, ["get_weather", "get_time"], "none"),
        ({"tool_choice": "required"}, ["get_weather", "get_time"], "required"),
        ({"tool_choice": NAMED}, ["get_weather", "get_time"], "=get_time"),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "required", "tools": [NAMED]},
                }
            },
            ["get_time"],
            "required",
        ),
    ],
)
def test_a_tool_choice_reaches_the_model(client: openai.OpenAI, engine: ScriptedEngine, asked: Any, tools: list[str], choice: str) -> None:
    ask(client, tools=[WEATHER, TIME], parallel_tool_calls=False, **asked)

    [chat] = engine.chats
    assert ([tool.name for tool in chat.tools], chat.tool_choice, chat.parallel_tool_calls) == (tools, choice, False)


def test_functions_of_the_old_form_are_called_in_the_old_form(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_call("get_weather", '{"city": "Rome"}')
    functions = [WEATHER["function"]]

    choice = ask(client, functions=functions, function_call={"name": "get_weather"}).choices[0]
    ask(client, functions=functions, messages=[*HELLO, choice.message, {"role": "function", "name": "get_weather", "content": "sunny"}])

    assert (choice.finish_reason, choice.message.function_call.arguments, choice.message.tool_calls) == ("function_call", '{"city": "Rome"}', None)
    assert engine.chats[0].tool_choice == "=get_weather"
    assert [message.role for message in engine.chats[1].messages] == ["user", "assistant", "tool"]


class Pet(BaseModel):
    name: str
    age: int


def test_a_parsed_answer_is_an_object(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_say('{"name": "Ada", "age": 3}')

    parsed = client.chat.completions.parse(model="scripted", messages=HELLO, response_format=Pet).choices[0].message.parsed

    assert parsed == Pet(name="Ada", age=3)
    assert engine.chats[0].response_format.schema["required"] == ["name", "age"]


def test_parsed_arguments_are_an_object(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_call("Pet", '{"name": "Ada", "age": 3}')

    completion = client.chat.completions.parse(model="scripted", messages=HELLO, tools=[openai.pydantic_function_tool(Pet)])

    assert completion.choices[0].message.tool_calls[0].function.parsed_arguments == Pet(name="Ada", age=3)


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────

PIXEL = b"\x89PNG\r\n\x1a\n and so on"


def test_a_picture_reaches_a_model_that_sees(tmp_path: Any) -> None:
    live = LiveServer(tmp_path / "data", engine=ScriptedEngine(picture_tokens=10)).start()
    parts = [{"type": "text", "text": "What is"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64encode(PIXEL).decode()}"}}]
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0) as client:
        ask(client, messages=[{"role": "user", "content": parts}])
        with pytest.raises(openai.BadRequestError, match="nothing is fetched"):
            ask(client, messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}])
    live.stop()

    [message] = live.engine.chats[0].messages
    assert (message.content, [(picture.offset, picture.content, picture.mime) for picture in message.pictures]) == ("What is", [(7, PIXEL, "image/png")])


# ── Streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def frames(server: LiveServer, **more: Any) -> list[str]:
    body = {"model": "scripted", "messages": HELLO, "stream": True, **more}
    with httpx.stream("POST", f"{server.url}/chat/completions", json=body, timeout=15) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return "".join(response.iter_text()).split("\n\n")[:-1]


def test_a_stream_is_data_frames_and_a_mark_of_the_end(server: LiveServer, engine: ScriptedEngine) -> None:
    engine.will_say("Hello you")

    *chunks, last = frames(server)

    told = [json.loads(frame.removeprefix("data: ")) for frame in chunks]
    assert last == "data: [DONE]"
    assert [chunk["choices"][0]["delta"] for chunk in told] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Hello"},
        {"content": " you"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in told] == [None, None, None, "stop"]
    assert len({chunk["id"] for chunk in told}) == 1
    assert not any("usage" in chunk for chunk in told)


def test_usage_comes_last_if_asked_for(server: LiveServer, engine: ScriptedEngine) -> None:
    engine.will_say("Hello you")

    *chunks, last, _ = frames(server, stream_options={"include_usage": True})

    assert all(json.loads(frame[6:])["usage"] is None for frame in chunks)
    assert json.loads(last[6:])["choices"] == []
    assert json.loads(last[6:])["usage"]["completion_tokens"] == 2


def test_the_sdk_s_stream_puts_text_and_calls_together(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_say("Let me look.").then_call("get_weather", '{"city": "Rome"}').then_call("get_time", "{}")

    with client.chat.completions.stream(model="scripted", messages=HELLO, tools=[WEATHER, TIME], logprobs=True) as stream:
        kinds = {event.type for event in stream}
        message = stream.get_final_completion().choices[0].message

    assert {"content.delta", "content.done", "tool_calls.function.arguments.delta", "tool_calls.function.arguments.done", "logprobs.content.done"} <= kinds
    assert message.content == "Let me look."
    assert [(call.function.name, call.function.arguments) for call in message.tool_calls] == [("get_weather", '{"city": "Rome"}'), ("get_time", "{}")]


def test_a_stream_of_calls_alone_has_no_text(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_call("get_time", "{}")

    with client.chat.completions.stream(model="scripted", messages=HELLO, tools=[TIME]) as stream:
        choice = stream.get_final_completion().choices[0]

    assert (choice.message.content, choice.finish_reason, choice.message.tool_calls[0].function.name) == (None, "tool_calls", "get_time")


def test_a_stream_parses(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_say('{"name": "Ada", "age": 3}')

    with client.chat.completions.stream(model="scripted", messages=HELLO, response_format=Pet) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == Pet(name="Ada", age=3)


def test_choices_of_a_stream_are_told_apart(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    for text in ("one", "two"):
        engine.will_say(text)

    texts = {0: "", 1: ""}
    for chunk in ask(client, n=2, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""

    assert texts == {0: "one", 1: "two"}


def test_a_failure_before_the_first_word_has_its_status(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_fail(EngineError("It broke."))

    with pytest.raises(openai.InternalServerError, match="It broke"):
        ask(client, stream=True)


def test_a_failure_in_the_middle_is_told_in_the_stream(client: openai.OpenAI, server: LiveServer, engine: ScriptedEngine) -> None:
    engine.will_say("Hello").then_fail(EngineError("It broke."))
    engine.will_say("Hello").then_fail(EngineError("It broke."))

    *_, error, last = frames(server)

    assert json.loads(error[6:])["error"] == {"message": "It broke.", "type": "server_error", "param": None, "code": None}
    assert last == "data: [DONE]"
    with pytest.raises(openai.APIError, match="It broke"):
        list(ask(client, stream=True))


def test_silence_is_filled_with_comments(tmp_path: Any) -> None:
    live = LiveServer(tmp_path / "data", settings={"heartbeat_s": 0.05}).start()
    live.engine.will_wait().then_say("At last.")
    with httpx.stream("POST", f"{live.url}/chat/completions", json={"model": "scripted", "messages": HELLO, "stream": True}) as response:
        pieces = response.iter_text()
        first = next(pieces)
        live.engine.release()
        rest = "".join(pieces)
    live.stop()

    assert first.startswith(":")
    assert "At" in rest and rest.endswith("data: [DONE]\n\n")


# ── Clients that leave ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reader_that_leaves_ends_the_generation(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.will_say("Hello").then_wait()
    stream = ask(client, stream=True)
    next(iter(stream))

    stream.close()

    wait_until(lambda: engine.num_cancelled == 1)


@pytest.mark.parametrize("body", [{}, {"stream": True}, {"n": 3}])
def test_a_client_that_gives_up_waiting_ends_the_generation(server: LiveServer, engine: ScriptedEngine, body: dict[str, Any]) -> None:
    engine.will_wait()

    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/chat/completions", json={"model": "scripted", "messages": HELLO, **body}, timeout=0.3)

    wait_until(lambda: engine.num_cancelled == 1)


# ── What is refused, and what has no effect ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "tool", "tool_call_id": "c", "content": ""}]}, "messages.[0].role"),
        ({"messages": [{"role": "function", "name": "f", "content": ""}]}, "messages.[0].role"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [CALL]}]},
            "messages.[1].role",
        ),
        ({"temperature": 2.1}, "temperature"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"stop": list("abcde")}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [WEATHER], "functions": [{"name": "f"}]}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"extra_body": {"colour": 1}}, "colour"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(client: openai.OpenAI, body: dict[str, Any], param: str) -> None:
    assert refusal(client, **body)["param"] == param


def test_what_has_no_meaning_here_is_named_in_a_header(client: openai.OpenAI) -> None:
    given: Any = {
        "audio": {"voice": "alloy", "format": "wav"},
        "modalities": ["text", "audio"],
        "prediction": {"type": "content", "content": "x"},
        "prompt_cache_key": "k",
        "reasoning_effort": "low",
        "safety_identifier": "s",
        "service_tier": "flex",
        "user": "u",
        "verbosity": "low",
        "web_search_options": {},
    }

    answer = client.chat.completions.with_raw_response.create(model="scripted", messages=HELLO, **given)
    plain = client.chat.completions.with_raw_response.create(model="scripted", messages=HELLO, modalities=["text"], service_tier="auto")

    assert answer.headers["x-ignored-parameters"].split(", ") == sorted(given)
    assert "x-ignored-parameters" not in plain.headers


# ── Those that are stored ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stored_answer_can_be_read_changed_and_deleted(client: openai.OpenAI) -> None:
    made = ask(client, store=True, metadata={"team": "a"})

    changed = client.chat.completions.update(made.id, metadata={"team": "b"})

    assert client.chat.completions.retrieve(made.id) == changed
    assert (changed.choices, changed.metadata) == (made.choices, {"team": "b"})
    assert client.chat.completions.delete(made.id).deleted
    for look in (client.chat.completions.retrieve, client.chat.completions.delete, client.chat.completions.messages.list):
        with pytest.raises(openai.NotFoundError):
            look(made.id)


def test_only_what_was_to_be_stored_is(client: openai.OpenAI) -> None:
    for store in (False, None, True):
        list(ask(client, store=store, stream=True))

    [kept] = client.chat.completions.list()
    assert (kept.choices[0].message.content, kept.usage.completion_tokens) == ("Hello there", 2)


def test_stored_answers_are_listed_by_model_and_metadata(client: openai.OpenAI) -> None:
    odd = "a/b~c.d\"'%"
    made = [ask(client, store=True, model=model, metadata=metadata).id for model, metadata in [("gpt-4o", {odd: "x"}), ("o1", {odd: "y", "k": ""}), ("o1", {})]]

    def ids(**filters: Any) -> list[str]:
        return [each.id for each in client.chat.completions.list(**filters)]

    assert ids() == made
    assert ids(order="desc", limit=2) == made[::-1]
    assert ids(model="o1") == made[1:]
    assert ids(metadata={odd: "x"}) == made[:1]
    assert ids(metadata={odd: "y", "k": ""}) == made[1:2]
    assert ids(metadata={"none": "x"}) == []
    assert ids(after=made[0], limit=1) == made[1:]


def test_the_messages_of_a_stored_answer_are_listed(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    made = ask(client, store=True, messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}, *HELLO])

    messages = list(client.chat.completions.messages.list(made.id, limit=2))
    newest = client.chat.completions.messages.list(made.id, order="desc", limit=1).data

    assert [(message.role, message.content) for message in messages] == [("system", "Be brief."), ("user", "one\ntwo"), ("user", "Hello there")]
    assert [part.text for part in messages[1].content_parts] == ["one", "two"]
    assert [message.id for message in newest] == [messages[-1].id]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.messages.list(made.id, after="nothing")


def test_a_stored_answer_outlives_a_restart(server: LiveServer, client: openai.OpenAI) -> None:
    made = ask(client, store=True)

    server.stop()
    server.start()

    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as again:
        assert again.chat.completions.retrieve(made.id) == made
