"""The grammars as text: what is asked of llguidance. Whether a model keeps to them is shown in tests/contract."""

from __future__ import annotations

import pytest
from llguidance import LLMatcher, LLTokenizer

from offline_assistants.engine.chat_formats.generic_grammar import lark_for
from offline_assistants.errors import RequestError
from offline_assistants.ports import Chat, ResponseFormat, ToolSpec

NESTED = {
    "type": "object",
    "properties": {"place": {"type": "object", "properties": {"city": {"type": "string"}}}, "days": {"type": "array", "items": {"type": "integer"}}},
    "required": ["place"],
}
WEATHER = ToolSpec("get_weather", "", NESTED)
PYTHON = ToolSpec("code_interpreter", "", {}, syntax="code")


def grammar(
    tool_choice: str = "auto", *, tools: tuple[ToolSpec, ...] = (WEATHER, PYTHON), parallel: bool = True, form: ResponseFormat | None = None
) -> str | None:
    return lark_for(Chat((), tools, tool_choice, parallel, form or ResponseFormat()))


@pytest.mark.parametrize("tool_choice", ["auto", "none", "required", "=get_weather", "=code_interpreter"])
@pytest.mark.parametrize("form", [ResponseFormat(), ResponseFormat("json_object"), ResponseFormat("json_schema", NESTED)])
@pytest.mark.parametrize("parallel", [True, False])
def test_every_kind_of_request_has_a_grammar_that_llguidance_takes(tool_choice: str, form: ResponseFormat, parallel: bool):
    lark = grammar(tool_choice, form=form, parallel=parallel)

    assert lark is not None
    assert LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(lark)) == ""


def test_text_without_tools_is_free():
    assert grammar(tools=()) is None


def test_a_tool_choice_must_name_a_tool():
    with pytest.raises(RequestError, match="get_news"):
        grammar("=get_news")


@pytest.mark.parametrize("tool_choice", ["required", "=get_weather"])
def test_a_call_cannot_be_asked_for_without_tools(tool_choice: str):
    with pytest.raises(RequestError, match="no tools"):
        grammar(tool_choice, tools=())


def test_a_named_tool_leaves_out_the_others():
    lark = grammar("=get_weather")

    assert lark is not None
    assert "code_interpreter" not in lark
    assert "```" not in lark


def test_keys_that_a_schema_does_not_name_are_not_written():
    lark = grammar("=get_weather")

    assert lark is not None
    assert lark.count('"additionalProperties": false') == 2


def test_a_tool_without_parameters_takes_an_empty_object():
    lark = grammar("=ping", tools=(ToolSpec("ping", "", {}),))

    assert lark is not None
    assert LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(lark)) == ""


@pytest.mark.parametrize(
    ("tool_choice", "text", "is_allowed"),
    [
        ("none", "The lease ends in May. 3 < 4, and <b>bold</b> is fine.", True),
        ("none", '<tool_call>\n{"name": "get_weather"}', False),
        ("none", "The answer: <tooled_call>", False),
        ("none", "\n<user_query>\nWhen?", False),
        ("auto", "<b>bold</b>", True),
        ("auto", "<tooled_call>", False),
        ("auto", '<tool_call>\n{"name": "get_weather", "arguments": {"place": {}', True),
    ],
)
def test_what_looks_like_a_call_is_one_or_is_not_written(tool_choice: str, text: str, is_allowed: bool):
    tokenizer = LLTokenizer("byte")
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(grammar(tool_choice) or ""))

    num_bytes = matcher.try_consume_tokens(list(text.encode()))

    assert (num_bytes == len(text.encode())) == is_allowed
