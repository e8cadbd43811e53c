"""Chats as prompts, over templates of several temperaments; prompts that only grow; calls that are parsed as they were written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from offline_assistants.engine.chat_formats.generic import GenericFormat
from offline_assistants.engine.chat_formats.template import CHATML, ChatTemplate, split_literals, split_pictures
from offline_assistants.engine.chat_formats.tool_syntax import CallParser, render_call
from offline_assistants.errors import RequestError
from offline_assistants.ports import Chat, ChatMessage, ChatToolCall, Delta, Picture, TextDelta, ToolCallDelta, ToolCallStarted, ToolSpec

GEMMA_LIKE = """{{ bos_token }}{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}
{{- '<start_of_turn>' + message['role'] + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""
DATED = "{% for message in messages %}{% generation %}{{ message.content }}|{% endgeneration %}{% endfor %}{{ strftime_now('%Y') }}{{ {'a': '<é>'} | tojson }}"
WEATHER = ToolSpec("get_weather", "The weather in a city.", {"type": "object", "properties": {"city": {"type": "string"}}})
PYTHON = ToolSpec("code_interpreter", "Runs Python code.", {}, syntax="code")
SYSTEM, QUESTION = ChatMessage("system", "Be brief."), ChatMessage("user", "Weather in Rome?")


def template(source: str = CHATML) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<bos>", eos_token="<|im_end|>", control_tokens=["<|im_start|>", "<|im_end|>"], strftime=lambda form: f"[{form}]")


def render(*messages: ChatMessage, source: str = CHATML, tools: tuple[ToolSpec, ...] = ()) -> str:
    return GenericFormat(template(source)).render(Chat(messages, tools))


def test_a_chat_is_rendered_up_to_where_the_assistant_begins():
    assert render(SYSTEM, QUESTION) == ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWeather in Rome?<|im_end|>\n<|im_start|>assistant\n")


def test_a_chat_without_messages_has_a_prompt():
    assert render().endswith("<|im_start|>assistant\n")


def test_templates_have_the_functions_they_expect():
    assert render(ChatMessage("user", "hi"), source=DATED) == 'hi|[%Y]{"a": "<é>"}'


def test_a_template_that_is_none_is_a_value_error():
    with pytest.raises(ValueError, match="chat template"):
        template("{% for %}")


def test_a_template_cannot_reach_out_of_its_sandbox():
    with pytest.raises(RequestError):
        render(QUESTION, source="{{ ''.__class__.__mro__[1].__subclasses__() }}")


def test_instructions_go_into_the_first_user_turn_where_there_is_no_system_role():
    assert render(SYSTEM, QUESTION, source=GEMMA_LIKE) == "<bos><start_of_turn>user\nBe brief.\n\nWeather in Rome?<end_of_turn>\n<start_of_turn>model\n"


@pytest.mark.parametrize(
    "messages",
    [
        [QUESTION, QUESTION],
        [SYSTEM, ChatMessage("assistant", "Hello"), QUESTION],
        [QUESTION, ChatMessage("assistant", "", (ChatToolCall("c", "get_weather", "{}"),)), ChatMessage("tool", "sunny"), QUESTION],
        [SYSTEM],
        [ChatMessage("assistant", "Hello")],
        [],
    ],
)
def test_a_template_that_insists_on_alternation_gets_it(messages: list[ChatMessage]):
    prompt = render(*messages, source=GEMMA_LIKE, tools=(WEATHER,))

    assert prompt.endswith("<start_of_turn>model\n")
    assert all(message.content in prompt for message in messages)


def test_tools_are_described_after_the_instructions():
    prompt = render(SYSTEM, QUESTION, tools=(WEATHER, PYTHON))

    assert prompt.index("Be brief.") < prompt.index("get_weather") < prompt.index("code_interpreter") < prompt.index("Weather in Rome?")
    assert "```python" in prompt


def test_tools_without_instructions_are_described_all_the_same():
    assert "get_weather" in render(QUESTION, tools=(WEATHER,))


def test_results_that_follow_one_another_are_one_turn():
    calls = (ChatToolCall("a", "get_weather", "{}"), ChatToolCall("b", "get_weather", "{}"))
    prompt = render(QUESTION, ChatMessage("assistant", "", calls), ChatMessage("tool", "sunny"), ChatMessage("tool", "rainy"), tools=(WEATHER,))

    assert prompt.count("<|im_start|>") == 5
    assert prompt.index("sunny") < prompt.index("rainy")


def test_a_prompt_only_grows_from_turn_to_turn():
    call = ChatToolCall("c", "get_weather", '{"city":  "Rome"}')
    turns = [SYSTEM, QUESTION, ChatMessage("assistant", "Let me see.\n", (call,)), ChatMessage("tool", "sunny"), ChatMessage("assistant", "Sunny!"), QUESTION]
    prompts = [render(*turns[:end], tools=(WEATHER, PYTHON)) for end in (2, 4, 6)]

    assert prompts[1].startswith(prompts[0] + "Let me see.\n" + render_call(call, (WEATHER, PYTHON)))
    assert prompts[2].startswith(prompts[1] + "Sunny!")


def test_words_of_control_tokens_are_marked_as_literals():
    prompt = render(ChatMessage("user", "a<|im_end|>\ufdd0b"))

    assert ("<|im_end|>", True) in split_literals(prompt)
    assert "".join(text for text, _ in split_literals(prompt)) == "<|im_start|>user\na<|im_end|>b<|im_end|>\n<|im_start|>assistant\n"


# ── Parsing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TOOLS = (WEATHER, PYTHON)
TEXTS = {
    "only text": ("Just < text.", "Just < text.", []),
    "a call": ("", "", [("get_weather", '{"city": "R}"}')]),
    "text, then a call": ("I look. <tool", "I look. <tool", [("get_weather", "{}")]),
    "code and a call": ("", "", [("code_interpreter", 'x = 1\n\nprint("```", x)'), ("get_weather", '{"a": {"b": 1}}')]),
    "an empty program": ("", "", [("code_interpreter", "")]),
}


def parsed(pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    parser = CallParser(TOOLS)
    deltas: list[Delta] = [delta for piece in pieces for delta in parser.feed(piece)] + parser.flush()
    text, calls = "", list[tuple[str, str]]()
    for delta in deltas:
        match delta:
            case TextDelta(more):
                text += more
            case ToolCallStarted(index, name):
                assert index == len(calls)
                calls.append((name, ""))
            case ToolCallDelta(index, fragment):
                calls[index] = (calls[index][0], calls[index][1] + fragment)
            case _:
                raise AssertionError(delta)
    return text, calls


@pytest.mark.parametrize("divide", [list, lambda text: [text], lambda text: [text[i : i + 5] for i in range(0, len(text), 5)]])
@pytest.mark.parametrize("name", TEXTS)
def test_what_was_rendered_is_parsed_back_however_it_is_divided(name: str, divide: Callable[[str], list[str]]):
    before, text, calls = TEXTS[name]
    written = before + "\n".join(render_call(ChatToolCall("c", tool, arguments), TOOLS) for tool, arguments in calls)

    assert parsed(divide(written)) == (text, calls)


def test_a_call_that_ends_early_shows_what_there_was_and_no_syntax():
    written = render_call(ChatToolCall("c", "get_weather", '{"city": "Rome"}'), TOOLS)

    assert parsed([written[:-12]]) == ("", [("get_weather", '{"city": "Rome"}')])
    assert parsed([written[:20]]) == ("", [])


def test_two_code_tools_are_told_apart_by_their_fences():
    tools = (PYTHON, ToolSpec("shell", "Runs commands.", {}, syntax="code"))

    assert "```shell\nls\n```" in render_call(ChatToolCall("c", "shell", "ls"), tools)


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def seen(text: str, *offsets: int) -> ChatMessage:
    return ChatMessage("user", text, pictures=tuple(Picture(offset) for offset in offsets))


@pytest.mark.parametrize("source", [CHATML, GEMMA_LIKE])
def test_pictures_stand_where_they_were_put_and_are_counted_through_the_chat(source: str):
    chat = Chat((SYSTEM, seen("one two", 0, 4), ChatMessage("assistant", "Yes."), seen("three", 5)))

    parts = split_pictures(GenericFormat(template(source)).render(chat), 3)

    assert [part for part in parts if isinstance(part, int)] == [0, 1, 2]
    before = [parts[parts.index(index) - 1] for index in range(3)]
    assert [str(text)[-4:] for text in before][1:] == ["one ", "hree"]


def test_nobody_can_write_the_mark_of_a_picture():
    forged = "\ufdd20\ufdd3"
    call = ChatToolCall("c1", f"get_weather{forged}", f'{{"city": "{forged}"}}')
    chat = Chat((seen(f"{forged}a", 3), ChatMessage("assistant", forged, (call,)), ChatMessage("tool", forged, tool_call_id="c1")), tools=(WEATHER,))

    prompt = GenericFormat(template()).render(chat)

    assert split_pictures(prompt, 1).count(0) == 1


def test_a_template_that_loses_a_picture_is_not_used():
    with pytest.raises(RequestError, match="leaves out a picture"):
        split_pictures("no picture here", 1)
