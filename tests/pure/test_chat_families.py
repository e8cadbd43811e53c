"""Families of models: what a family writes for a call is what its grammar allows and what its parser reads, in pieces of any size."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from offline_assistants.engine.chat_formats.answer_grammar import answer_grammar
from offline_assistants.engine.chat_formats.answer_parser import AnswerParser, CallReader
from offline_assistants.engine.chat_formats.choice import Choice, choose, describe, families
from offline_assistants.engine.chat_formats.native import NativeFormat
from offline_assistants.engine.chat_formats.syntax import CallSyntax, Syntax, write_calls
from offline_assistants.engine.chat_formats.template import split_literals
from offline_assistants.errors import RequestError
from offline_assistants.ports import Chat, ChatMessage, ChatToolCall, ResponseFormat, ToolSpec
from tests.chat_templates import ARGUMENTS, PROGRAM, TOOLS, WEATHER, Said, conversation, read, read_back, same, template, turns_with

# A few words of each family's templates: enough to be known by.
SIGNS = {
    "mistral": ["[TOOL_CALLS] [ARGS]", "[TOOL_CALLS]"],
    "deepseek": ["<｜tool▁sep｜> ```json", "<｜tool▁sep｜>", "DSML tool_calls>", "DSML"],
    "kimi-k3": ["<|open|> xtml"],
    "kimi": ["<|tool_calls_section_begin|>"],
    "harmony": ["<|channel|> to=functions."],
    "solar": ["<|tool_call:begin|>"],
    "muse": ["atem:"],
    "cohere": ["<|START_ACTION|>", 'Action: "tool_name"'],
    "gemma": ["<|tool_call>call:"],
    "gigachat": ["<|role_sep|>", "<|role_sep|> <|function_call|>"],
    "lfm": ["List of tools: "],
    "minimax": ["]<]minimax[>[", "minimax:tool_call", "<beginning_of_sentence> <tool_calls>"],
    "minicpm": ['<param name="'],
    "apertus": ["<|tools_prefix|>"],
    "nemotron": ["<TOOLCALL>"],
    "apriel": ["Apriel <tool_calls>"],
    "firefunction": ["functools["],
    "phi": ["<|/tool|>"],
    "granite": ["<|tool_call|> <|start_of_role|>"],
    "glm": ["<arg_key>", "<arg_key <tool_sep", "<arg_key <tool_sep :opensource"],
    "functions-in-xml": ["<function= <parameter=", "<function= <parameter= <seed:tool_call>"],
    "functionary": [">>>all", "<function= <|python_tag|>"],
    "llama": ['<|start_header_id|> "parameters": '],
    "hermes": ["<tool_call>"],
}
ALL = [pytest.param(name, sign, id=f"{name}-{i}") for name, signs in SIGNS.items() for i, sign in enumerate(signs)]
CALLS = [("get_weather", ARGUMENTS), ("code_interpreter", PROGRAM)]


class _Bytes:
    """A vocabulary of bytes, an end, and the words that a test wants as single tokens."""

    eos_token_id, bos_token_id = 256, None

    def __init__(self, words: Sequence[str] = ()) -> None:
        self.tokens = [bytes([i]) for i in range(256)] + [b"\xff</s>", *(b"\xff" + word.encode() for word in words)]
        self.special_token_ids = list(range(256, len(self.tokens)))

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def tokenizer(words: Sequence[str] = ()) -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Bytes(words)))


def syntax_of(name: str, sign: str) -> tuple[Syntax, CallSyntax]:
    found, syntax = next((each, syntax) for each, family in families() if (syntax := family(sign)))
    assert found == name
    assert syntax.calls is not None
    return syntax, syntax.calls


def written(calls: CallSyntax, *, num_calls: int = 2) -> str:
    arguments = [("get_weather", ARGUMENTS), ("code_interpreter", json.dumps({"code": PROGRAM}))]
    return write_calls(calls, arguments[:num_calls])


def meant(calls: CallSyntax) -> list[tuple[str, str]]:
    return CALLS[:1] if calls.is_single else CALLS


def matcher(lark: str, vocabulary: LLTokenizer | None = None) -> LLMatcher:
    result = LLMatcher(vocabulary or tokenizer(), LLMatcher.grammar_from_lark(lark), log_level=0)
    assert not result.is_error(), result.get_error()
    return result


class _Family:
    """A family without a template: its parser."""

    def __init__(self, syntax: Syntax) -> None:
        self.name, self.words, self._syntax = "", list[str](), syntax

    def parser(self, chat: Chat, prompt: str) -> AnswerParser:
        return AnswerParser(self._syntax.thoughts, CallReader(self._syntax, chat.tools))

    def render(self, chat: Chat) -> str:
        return ""

    def grammar(self, chat: Chat, prompt: str, special_words: Any) -> str | None:
        return answer_grammar(chat, self._syntax, special_words, thinks=self._syntax.thoughts, is_thinking=False)


# ── Every family ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("name", "sign"), ALL)
def test_what_a_family_writes_is_read(name: str, sign: str, piece: int):
    syntax, calls = syntax_of(name, sign)
    answer = written(calls, num_calls=1 if calls.is_single else 2).removeprefix(syntax.in_prompt)

    said = read(_Family(syntax), answer, piece=piece)

    assert (said.text, same(said.calls, meant(calls))) == ("", True), said


@pytest.mark.parametrize(("name", "sign"), ALL)
def test_what_a_family_writes_is_allowed(name: str, sign: str):
    syntax, calls = syntax_of(name, sign)
    grammar = matcher(_Family(syntax).grammar(Chat((), TOOLS, "required"), "", {}) or "")
    answer = written(calls, num_calls=1 if calls.is_single else 2).removeprefix(syntax.in_prompt)

    num_taken = grammar.try_consume_tokens(list(answer.encode()))

    assert answer.encode()[num_taken:] == b""
    assert grammar.is_accepting()


@pytest.mark.parametrize(("name", "sign"), ALL)
@pytest.mark.parametrize("tool_choice", ["auto", "none", "required", "=get_weather", "=code_interpreter"])
def test_every_family_has_a_grammar_for_every_choice(name: str, sign: str, tool_choice: str):
    syntax, calls = syntax_of(name, sign)
    words = [*dict.fromkeys([calls.opening.strip(), calls.closing.strip() or "<x>"])]
    special = {word: 257 + i for i, word in enumerate(words)}
    for form in (ResponseFormat(), ResponseFormat("json_object"), ResponseFormat("json_schema", WEATHER.parameters)):
        chat = Chat((), TOOLS, tool_choice, response_format=form)

        matcher(_Family(syntax).grammar(chat, "", {}) or "")
        matcher(_Family(syntax).grammar(chat, "", special) or "", tokenizer(words))


@pytest.mark.parametrize(("name", "sign"), ALL)
@pytest.mark.parametrize("has_special_words", [False, True])
def test_whatever_a_grammar_allows_is_a_valid_call(name: str, sign: str, has_special_words: bool):
    """Characters at random, within the grammar: the worst model there is. Its vocabulary has the words of the syntax as tokens, or spells them."""
    syntax, _ = syntax_of(name, sign)
    words = sorted({word for text in syntax.words for word in re.findall(r"<[^<>\s\"=]+>|\[[A-Z_]+\]", text)}) if has_special_words else []
    vocabulary, dice = _Bytes(words), random.Random(len(name))
    chat = Chat((), (SHORT,), "required", parallel_tool_calls=False)
    lark = answer_grammar(chat, syntax, {word: 257 + i for i, word in enumerate(words)}, thinks=None, is_thinking=False)
    grammar = matcher(lark or "", LLTokenizer(TokenizerWrapper(vocabulary)))
    answer = b""
    while not grammar.is_stopped() and len(answer) < 3000:
        bits = int.from_bytes(grammar.compute_bitmask(), "little")
        allowed = [token for token in range(len(vocabulary.tokens)) if bits >> token & 1]
        plain = [token for token in allowed if 32 <= token < 127 or token > 256] or allowed
        token = next((token for token in allowed if token > 256 and dice.random() < 0.2), dice.choice(allowed if 256 in allowed else plain))
        grammar.consume_token(token)
        answer += vocabulary.tokens[token].removeprefix(b"\xff") if token != 256 else b""

    said = read(_Family(syntax), answer.decode(), piece=5, tools=(SHORT,))

    assert [name for name, _ in said.calls] == ["short"], said
    jsonschema.validate(json.loads(said.calls[0][1]), SHORT.parameters)


SHORT = ToolSpec(
    "short",
    "",
    {
        "type": "object",
        "properties": {
            "text": {"type": "string", "maxLength": 5},
            "kind": {"enum": ["a", "b c"]},
            "count": {"type": "integer", "minimum": 0, "maximum": 99},
            "is": {"type": "boolean"},
            "places": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"]}, "maxItems": 2},
        },
        "required": ["text", "kind", "places"],
    },
)


@pytest.mark.parametrize(("name", "sign"), ALL)
def test_what_is_no_call_is_text_and_what_is_half_a_call_is_none(name: str, sign: str):
    syntax, calls = syntax_of(name, sign)
    whole = written(calls, num_calls=1).removeprefix(syntax.in_prompt)

    for end in range(0, len(whole), 7):
        said = read(_Family(syntax), whole[:end])
        assert len(said.calls) <= 1
    said = read(_Family(syntax), f"{syntax.before_text.removeprefix(syntax.in_prompt)}No < call [ here {{ at all.")
    assert said.text == "No < call [ here { at all."


def test_no_family_takes_anothers_sign():
    assert {name for name, _ in families()} == set(SIGNS)


# ── Templates ────────────────────────────────────────────────────────────────────────────────────────────────────────

TAGS = """{% if tools %}<s1>{{ messages[0].content if messages[0].role == 'system' }} {{ tools | tojson }} Answer with <tool_call>.</s1>{% endif %}
{%- for m in messages if m.role != 'system' or not tools %}<|{{ m.role }}|>{{ m.content }}
{%- for c in m.tool_calls or [] %}
<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}<|end|>{% endfor %}<|assistant|>"""
THINKING = TAGS.replace("<|assistant|>", "<|assistant|>{% if enable_thinking is not defined or enable_thinking %}<think>\n{% else %}<think></think>{% endif %}")
ONE_CALL = """{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>{% if loop.first and tools %}{{ tools | tojson }}{% endif %}
{%- if m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception('one call at once') }}{% endif -%}
{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}
{%- else %}{{ m.content }}{% endif %}<|eot_id|>{% endfor %}<|start_header_id|>assistant<|end_header_id|>"""
NO_SYSTEM = """{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}
{%- if m.role == 'user' %}[INST]{{ tools | tojson if tools and loop.last }}{{ m.content }}[/INST]
{%- elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]
{%- elif m.tool_calls and m.content is none %}[TOOL_CALLS]{% for c in m.tool_calls %}{{ '[TOOL_CALLS]' if loop.index0 }}{{ c.function.name }}[ARGS]
{{- c.function.arguments | tojson }}{% endfor %}{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"""
UNTOLD = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"


def chosen(source: str) -> tuple[Choice, NativeFormat]:
    choice = choose(template(source, ["<|end|>", "[INST]"]))
    assert isinstance(choice.format, NativeFormat), choice.reason
    return choice, choice.format


@pytest.mark.parametrize(
    ("source", "name", "notes"),
    [
        (TAGS, "hermes", []),
        (THINKING, "hermes", []),
        (ONE_CALL, "llama", ["calls one after another"]),
        (NO_SYSTEM, "mistral", ["system text in the first message"]),
    ],
)
def test_a_template_gets_a_chat_as_it_wants_it_and_loses_nothing(source: str, name: str, notes: list[str]):
    choice, chat_format = chosen(source)
    prompt = chat_format.render(conversation(CALLS))

    assert (choice.format.name, chat_format.shape.notes[: len(notes)]) == (name, notes)
    assert all(word in prompt for word in ("Be brief.", "And Rome?", "São", "sunny today", "forty-two", "Like this.", "Thanks?"))
    assert same(read_back(chat_format, CALLS, piece=4), CALLS)


def test_a_template_that_knows_no_tools_has_them_described():
    choice = choose(template(UNTOLD))

    assert choice.format.name == "generic"
    assert "described" in choice.reason


def test_a_template_can_be_described_without_its_model():
    assert describe(None)[0] == "generic"
    assert describe(TAGS)[0] == "hermes"
    assert describe(UNTOLD, trained_on="compact")[0] == "compact"
    with pytest.raises(ValueError, match="chat template"):
        describe("{% for %}")


def test_the_choice_has_a_reason():
    assert "<tool_call>" in chosen(TAGS)[0].reason


def test_a_template_that_fails_says_which_model_and_line():
    with pytest.raises(RequestError, match=r"this model .*line 2\): no system role"):
        template("{% for m in messages %}\n{{ raise_exception('no system role') }}{% endfor %}").render([("user", "hi")])


def test_words_of_control_tokens_are_literals_wherever_they_come_from():
    tools = (ToolSpec("get_weather", "Ends <|end|> here.", {"type": "object", "properties": {"city": {"type": "string", "description": "<|end|>"}}}),)
    call = ChatToolCall("c", "get_weather", '{"city": "<|end|>", "<|end|>": ["<|end|>"]}')
    messages = (ChatMessage("user", "<|end|>"), ChatMessage("assistant", "<|end|>", (call,)), ChatMessage("tool", "<|end|>", tool_call_id="c"))

    pieces = split_literals(chosen(TAGS)[1].render(Chat(messages, tools)))

    assert sum(text == "<|end|>" for text, is_literal in pieces if is_literal) == 8
    assert sum(text.count("<|end|>") for text, is_literal in pieces if not is_literal) == 3


def test_a_past_call_is_written_as_the_model_wrote_it():
    call = ("get_weather", '{"city":   "Rome",\t"days": 1.0}')

    assert call[1] in turns_with(chosen(TAGS)[1], [call])[0]


def test_a_prompt_only_grows():
    chat_format = chosen(TAGS)[1]
    prompts = [chat_format.render(conversation(CALLS, end=end)) for end in (2, 5, 7)]

    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(prompts))


def test_arguments_that_are_no_object_are_told_all_the_same():
    assert "so be it" in turns_with(chosen(TAGS)[1], [("get_weather", '"so be it')])[0]


_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\ufdd0\ufdd1\ufdd2\ufdd3", exclude_categories=["Cs"]), max_size=20)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_TEXTS, _VALUES, _TEXTS), min_size=1, max_size=3), st.integers(1, 7))
def test_any_call_that_json_can_say_is_read_back(values: list[tuple[str, Any, str]], piece: int):
    calls = [(WEATHER.name, json.dumps({"city": text, "more": value}, ensure_ascii=len(text) % 2 == 0)) for text, value, _ in values]
    calls += [("code_interpreter", program) for _, _, program in values]

    for source in (TAGS, ONE_CALL, NO_SYSTEM):
        assert same(read_back(chosen(source)[1], calls, piece=piece), calls)


# ── Thoughts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("piece", [1, 3, 100])
@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("<|assistant|><think>\n", "Hm, <tool_call>?</think>\n\nYes."),
        ("<|assistant|>", "<think>Hm, <tool_call>?</think>\n\nYes."),
        ("<|assistant|>", "\n<think>Hm, <tool_call>?</think>Yes."),
    ],
)
def test_thoughts_are_kept_apart(prompt: str, answer: str, piece: int):
    said = read(chosen(THINKING)[1], answer, piece=piece, prompt=prompt)

    assert (said.reasoning, said.text, said.calls) == ("Hm, <tool_call>?", "Yes.", [])


def test_an_answer_that_ends_in_a_thought_has_no_text():
    said = read(chosen(THINKING)[1], "I wonder </thi", prompt="<think>")

    assert (said.reasoning, said.text) == ("I wonder </thi", "")


def test_a_word_like_a_thought_in_the_middle_is_text():
    assert read(chosen(THINKING)[1], "I say <think> and </think>.").text == "I say <think> and </think>."


@pytest.mark.parametrize(("effort", "end"), [(None, "<think>"), ("high", "<think>"), ("none", "</think>"), ("minimal", "</think>")])
def test_the_effort_reaches_the_template(effort: str | None, end: str):
    prompt = chosen(THINKING)[1].render(Chat((ChatMessage("user", "hi"),), reasoning_effort=effort))

    assert prompt.strip().endswith(end)


@pytest.mark.parametrize(
    ("prompt", "answer", "is_allowed"),
    [
        ("<think>\n", 'Hm.</think>\n\n{"city": "Rome"}', True),
        ("<think>\n", '{"city": "Rome"}', False),
        ("", '<think>Hm.</think>{"city": "Rome"}', True),
        ("", '{"city": "Rome"}', True),
        ("<think></think>", '<think>Hm.</think>{"city": "Rome"}', False),
    ],
)
def test_a_model_may_think_before_an_answer_in_a_form(prompt: str, answer: str, is_allowed: bool):
    lark = chosen(THINKING)[1].grammar(Chat((), response_format=ResponseFormat("json_schema", WEATHER.parameters)), prompt, {})
    grammar = matcher(lark or "")
    num_taken = grammar.try_consume_tokens(list(answer.encode()))

    assert (num_taken == len(answer.encode()) and grammar.is_accepting()) == is_allowed


def test_reasoning_between_messages_is_read():
    syntax, _ = syntax_of("harmony", "<|channel|> to=functions.")
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    call = '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Rome"}'

    assert read(_Family(syntax), f"{thought}<|channel|>final<|message|>Yes.") == Said("Yes.", "Hm.")
    assert read(_Family(syntax), f"{thought}{thought}{call}").calls == [("get_weather", '{"city": "Rome"}')]


# ── Templates of others ──────────────────────────────────────────────────────────────────────────────────────────────


def others() -> list[Path]:
    return sorted(Path(os.environ.get("CHAT_TEMPLATES", "/nonexistent")).glob("*.jinja"))


@pytest.mark.skipif(not others(), reason="CHAT_TEMPLATES names no folder with *.jinja files")
@pytest.mark.parametrize("path", others(), ids=lambda path: path.stem)
@pytest.mark.timeout(60)
def test_templates_of_others_lose_nothing_and_are_read_back(path: Path):
    chat_format = choose(template(path.read_text(), ["<|im_end|>", "</s>"])).format
    prompt = chat_format.render(conversation(CALLS))

    assert all(word in prompt for word in ("Be brief.", "And Rome?", "sunny today", "forty-two", "Like this.", "Thanks?"))
    assert all(same(read_back(chat_format, CALLS, piece=piece), CALLS) for piece in range(1, 8))


@pytest.mark.parametrize(
    ("recipient", "is_taken"),
    [
        ("analysis to=python code<|message|>print(1)", False),
        ("commentary to=python code<|message|>print(1)", False),
        ('commentary to=functions.code_interpreter <|constrain|>json<|message|>{"code": "print(1)"}', True),
    ],
)
def test_gpt_oss_runs_code_through_the_tool_that_it_was_told_of_and_not_through_one_of_its_own(recipient: str, is_taken: bool):
    words = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|constrain|>")
    numbers = {word: 257 + place for place, word in enumerate(words)}
    syntax, _ = syntax_of("harmony", "<|channel|> to=functions.")
    chat = Chat((ChatMessage("user", "Compute."),), (ToolSpec("code_interpreter", "Runs Python.", {}, syntax="code"),))
    lark = answer_grammar(chat, syntax, numbers, thinks=syntax.thoughts, is_thinking=False)

    pieces = re.split("(" + "|".join(map(re.escape, words)) + ")", f"<|channel|>{recipient}<|call|>")
    tokens = [token for piece in pieces for token in ([numbers[piece]] if piece in numbers else piece.encode())]
    num_taken = matcher(lark or "", tokenizer(words)).try_consume_tokens(tokens)

    assert (num_taken == len(tokens)) is is_taken
