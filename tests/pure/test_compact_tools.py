"""Tools in a line each, and the adapter that asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from offline_assistants.engine.chat_formats.choice import choose
from offline_assistants.engine.chat_formats.compact_tools import compact_section
from offline_assistants.engine.chat_formats.template import CHATML, ChatTemplate
from offline_assistants.errors import ModelNotLoaded
from offline_assistants.ports import Chat, ChatMessage, ToolSpec

TEMPLATE = ChatTemplate(CHATML, bos_token="", eos_token="", control_tokens=("<|im_start|>",), strftime=lambda form: form)
CITY = ToolSpec("get_weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
CODE = ToolSpec("code_interpreter", "Runs Python code.", {}, syntax="code")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string", "enum": ["a b", "c"]}, '"a b" | "c"'),
        ({"type": "array", "items": {"type": "integer"}}, "[integer]"),
        ({"type": "array"}, "[any]"),
        ({"type": "object", "properties": {"from": {"type": "string", "format": "date"}}, "required": ["from"]}, '{"from": date}'),
        ({"type": "object"}, "object"),
        ({"properties": {"n": {"type": "number"}}}, '{"n": optional number}'),
        ({"type": ["string", "null"], "description": "Who,\nif anyone."}, "string | null (Who, if anyone.)"),
        ({"anyOf": [{"type": "integer"}, {"const": "all"}]}, 'integer | "all"'),
        ({"$ref": "#/$defs/size"}, '"S" | "L"'),
        ({"$ref": "#/nowhere"}, "any"),
        ({"$ref": "#"}, None),
        (True, "any"),
    ],
)
def test_a_parameter_is_said_by_its_type_with_every_name_quoted(schema: Any, said: str | None) -> None:
    parameters = {"type": "object", "properties": {"x": schema}, "required": ["x"], "$defs": {"size": {"enum": ["S", "L"]}}}

    text = compact_section([ToolSpec("f", "", parameters)])

    assert said is None or text == f'# Tools\n\n- "f": {{"x": {said}}}'


def test_tools_are_told_in_a_line_each_behind_the_instructions() -> None:
    chat = Chat((ChatMessage("system", "Be brief."), ChatMessage("user", "Hi")), (CITY, CODE))

    prompt = choose(TEMPLATE, trained_on="compact").format.render(chat)

    lines = '# Tools\n\n- "get_weather": The weather. {"city": string}\n- code_interpreter: Runs Python code.'
    assert prompt == f"<|im_start|>system\nBe brief.\n\n{lines}<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_calls_are_constrained_and_read_as_in_the_generic_format() -> None:
    chat, compact, generic = Chat((ChatMessage("user", "Hi"),), (CITY, CODE)), choose(TEMPLATE, trained_on="compact").format, choose(TEMPLATE).format

    assert compact.name == "compact"
    assert compact.grammar(chat, "", {}) == generic.grammar(chat, "", {})


def test_an_adapter_trained_on_what_is_unknown_is_refused() -> None:
    with pytest.raises(ModelNotLoaded, match="'telepathy', which this version does not know"):
        choose(TEMPLATE, trained_on="telepathy")
