"""What the starter model learns from: held-out topics stay out of it, and what it is shown is right."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from offline_assistants.engine.chat_formats.choice import choose
from offline_assistants.engine.chat_formats.template import CHATML, ChatTemplate
from offline_assistants.engine.chat_formats.tool_syntax import render_call
from offline_assistants.ports import Chat
from scripts.starter.base_answers import read_answers
from scripts.starter.cases import Outcome, hand_written, held_out_cases, is_result, overlap
from scripts.starter.conversations import Conversation, kinds, make_family
from scripts.starter.functions import domains, make_function, shape_of
from scripts.starter.leaks import held_out
from scripts.starter.make_data import training_conversations
from scripts.starter.pools import Side
from scripts.starter.tables import Table

NUM_FAMILIES = 120


def run(code: str, tables: Sequence[Table]) -> str:
    """Stands for Python: what is printed is of no interest here."""
    return "42"


@pytest.fixture(scope="module")
def learned() -> list[Conversation]:
    return conversations("train", NUM_FAMILIES)


def conversations(side: Side, count: int) -> list[Conversation]:
    mixture = kinds(list(read_answers().values()), run)
    return [conversation for i in range(count) for conversation in make_family(i, side, mixture)]


def calls(conversation: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every call of a function that is learned: its tool and its arguments."""
    tools = {tool["name"]: tool for tool in conversation["tools"]}
    for i, message in enumerate(conversation["messages"]):
        for _, name, arguments in message.get("calls", ()) if i not in conversation["untrained"] else ():
            if tools[name]["syntax"] == "json":
                yield tools[name], arguments


def test_no_held_out_name_or_sentence_is_learned(learned: list[Conversation]) -> None:
    secret = held_out()

    found = {leak for chat in learned if chat.kind != "plain" for leak in secret.in_text(json.dumps(chat.to_json()))}

    assert found == set()
    assert len(secret.words) > 300
    assert len(secret.stretches) > 100


def test_what_the_base_model_said_of_held_out_things_is_left_out() -> None:
    secret = held_out()

    kept = list(training_conversations(0, NUM_FAMILIES, run))

    assert [each for each in kept if secret.in_text(json.dumps(each, ensure_ascii=False))] == []
    assert len(kept) > 2 * NUM_FAMILIES


def test_held_out_conversations_are_seen_for_what_they_are() -> None:
    secret = held_out()

    known = [chat for chat in conversations("held_out", 60) if chat.kind in {"function", "calls", "search"} and not secret.in_text(json.dumps(chat.to_json()))]

    assert known == []


def test_functions_have_hundreds_of_shapes() -> None:
    rng = random.Random(0)

    functions = [make_function(rng.choice(domains("train")), rng, "train") for _ in range(8_000)]

    assert len({shape_of(function.parameters) for function in functions}) >= 300
    assert len({function.name for function in functions}) > 2_000


def test_every_call_is_valid_for_its_function(learned: list[Conversation]) -> None:
    wrong = []
    for chat in learned:
        for tool, text in calls(chat.to_json()):
            arguments, properties = json.loads(text), tool["parameters"]["properties"]
            is_complete = set(tool["parameters"].get("required", ())) <= arguments.keys() <= properties.keys()
            if not is_complete or any(value not in properties[name].get("enum", [value]) for name, value in arguments.items()):
                wrong.append((tool, text))

    assert wrong == []


def test_the_same_number_makes_the_same_conversation() -> None:
    first, second = (list(training_conversations(100, 40, run)) for _ in range(2))

    assert first == second
    assert list(training_conversations(120, 20, run)) == [
        each for each in training_conversations(100, 40, run) if each not in training_conversations(100, 20, run)
    ]


def test_a_turn_is_learned_just_as_the_engine_will_have_it_before_it(learned: list[Conversation]) -> None:
    compact = choose(ChatTemplate(CHATML, bos_token="", eos_token="", control_tokens=(), strftime=str), trained_on="compact").format
    for chat in learned[:60]:
        written = ""
        for i, message in enumerate(chat.messages):
            if message.role == "assistant":
                prompt = compact.render(Chat(tuple(chat.messages[:i]), tuple(chat.tools)))
                assert prompt.startswith(written)
                written = prompt + message.content + "\n".join(render_call(call, chat.tools) for call in message.tool_calls) + "<|im_end|>"


@pytest.mark.parametrize("kind", ["function", "calls", "none", "search", "not held", "plain"])
def test_held_out_cases_are_the_same_each_time(kind: str) -> None:
    first, second = (held_out_cases(kind, 5) for _ in range(2))

    assert [case.asked for case in first] == [case.asked for case in second]
    assert not any(case.judge(Outcome([("telepathy", "{}")], [], "")).is_right for case in first if kind != "plain")


def test_requests_by_hand_are_eighty_and_a_right_answer_is_known() -> None:
    cases = list(hand_written())

    assert len(cases) == 80
    assert not any(case.judge(Outcome([("telepathy", "{}")], [], "")).is_right for case in cases)
    assert cases[0].judge(Outcome([("get_stock_level", '{"part": "M8 bolts"}')], [], "")).is_right


@pytest.mark.parametrize(
    ("output", "expected", "is_right"),
    [
        ("Mean: 46.0\n", "46.0", True),
        ("45.9", "46.0", False),
        ("b    2\na    1.50\nName: x", "{'a': 1.5, 'b': 2}", True),
        ("Traceback (most recent call last):\nKeyError: 46.0", "46.0", False),
        ("done\n[file saved: /mnt/data/out.csv]", "[file saved: /mnt/data/out.csv]", True),
        ("done", "[file saved: /mnt/data/out.csv]", False),
        ("[an image was shown to the user]", "[an image was shown to the user]\n[file saved: /mnt/data/chart.png]", True),
    ],
)
def test_a_program_is_right_by_what_it_shows(output: str, expected: str, is_right: bool) -> None:
    assert is_result(output, expected) == is_right


def test_answers_agree_by_the_words_that_they_share() -> None:
    assert overlap("The sky is blue.", "the sky is blue") == 1
    assert overlap("", "") == 0
    assert 0 < overlap("The sky is blue today", "Grass is green") < 0.5
