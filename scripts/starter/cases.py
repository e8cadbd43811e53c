"""What evaluation asks, on topics that training has never seen: held-out cases of every kind, and the requests that people wrote."""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offline_assistants.ports import ToolSpec
from scripts.starter.conversations import Conversation, function_call, nothing_fits, several_calls, table_question
from scripts.starter.passages import make_search
from scripts.starter.plain import plain_questions
from scripts.starter.pools import Side
from scripts.starter.programs import Question, make_question, run_here
from scripts.starter.tables import make_table

REQUESTS = Path(__file__).with_name("requests.toml")
NOT_SAID = re.compile(
    r"(?i)(do|does|did|could|can|is|are|was)(n't| not) (\w+ )?(say|mention|find|contain|know|in the|state|given|provide)|no information|not mentioned"
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(slots=True)
class Outcome:
    """What a run did."""

    calls: list[tuple[str, str]]
    """Name and arguments of every call, the program for code_interpreter."""
    outputs: list[str]
    """What each program printed, showed and saved."""
    answer: str
    status: str = "completed"

    @property
    def tools(self) -> list[str]:
        return [name for name, _ in self.calls]


@dataclass(frozen=True, slots=True)
class Judgement:
    right_tool: bool
    is_right: bool


@dataclass(frozen=True, slots=True)
class Case:
    kind: str
    asked: str
    judge: Callable[[Outcome], Judgement]
    system: str = ""
    tools: tuple[dict[str, Any], ...] = ()
    code_files: tuple[tuple[str, bytes], ...] = ()
    documents: tuple[tuple[str, str], ...] = ()
    reference: str = field(default="", compare=False)


def held_out_cases(kind: str, count: int, *, side: Side = "held_out", seed: int = 7) -> list[Case]:
    """So many cases of a kind; of the side "train" they are new conversations about known topics."""
    makers = {
        "function": _function, "calls": _calls, "none": _none, "code": _code, "search": _search, "not held": _not_held, "plain": _plain,
    }  # fmt: skip
    return [makers[kind](random.Random(f"evaluation {side} {kind} {seed} {i}"), side, i) for i in range(count)]


# ── Functions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _function(rng: random.Random, side: Side, _: int) -> Case:
    return _first_turn("function", function_call(rng, side))


def _calls(rng: random.Random, side: Side, _: int) -> Case:
    while True:
        chat = several_calls(rng, side)
        if len(chat.messages[1].tool_calls) > 1:
            return _first_turn("calls", chat)


def _first_turn(kind: str, chat: Conversation) -> Case:
    expected = [(call.name, json.loads(call.arguments)) for call in chat.messages[1].tool_calls]
    return Case(kind, chat.messages[0].content, lambda outcome: _judge_calls(outcome, expected), chat.system, _api_tools(chat.tools))


def _judge_calls(outcome: Outcome, expected: Sequence[tuple[str, Any]]) -> Judgement:
    made = [(name, _json(arguments)) for name, arguments in outcome.calls]
    is_right = sorted(map(_key, made)) == sorted(map(_key, expected))
    return Judgement(Counter(outcome.tools) == Counter(name for name, _ in expected), is_right)


def _key(call: tuple[str, Any]) -> str:
    """Calls are the same whatever the order of their arguments, and texts whatever their case at the beginning."""
    return json.dumps([call[0], call[1]], sort_keys=True).casefold()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _none(rng: random.Random, side: Side, i: int) -> Case:
    """Half of them ask for what no tool does, half are plain questions beside tools."""
    chat = nothing_fits(rng, side)
    asked = chat.messages[0].content if i % 2 else plain_questions(side)[(i // 2) % len(plain_questions(side))]
    return Case(
        "none", asked, lambda outcome: Judgement(not outcome.calls, not outcome.calls and bool(outcome.answer.strip())), chat.system, _api_tools(chat.tools)
    )


# ── Code ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _code(rng: random.Random, side: Side, _: int) -> Case:
    chat = table_question(rng, side, run_here)
    table = make_table(rng, side)
    question = make_question(table, rng, run_here)
    return Case(
        "code",
        question.said,
        lambda outcome: Judgement(outcome.tools[:1] == ["code_interpreter"], any(is_result(output, question.output) for output in outcome.outputs[:2])),
        chat.system,
        _api_tools([tool for tool in chat.tools if tool.name != "code_interpreter"] + [ToolSpec("code_interpreter", "", {}, "code")]),
        ((table.file, table.content()),),
        reference=_described(question),
    )


def _described(question: Question) -> str:
    return f"{question.code}\n# {question.output}"


def is_result(output: str, expected: str) -> bool:
    """The output holds what the right program printed: its numbers to two places, its words, the files that it saved."""
    if "Traceback" in output:
        return False
    printed, saved = _split(expected)
    has_files = all(line in output or (line.endswith(".png]") and "image was shown" in output) for line in saved)
    numbers = [round(float(number), 2) for number in _NUMBER.findall(output)]
    found = all(any(abs(number - float(each)) < 0.011 for number in numbers) for each in _NUMBER.findall(printed))
    words = re.findall(r"[A-Za-z]{2,}", printed)
    return has_files and found and all(word in output for word in words)


def _split(expected: str) -> tuple[str, list[str]]:
    lines = [line for line in expected.splitlines() if line not in {"(no output)", "[an image was shown to the user]"}]
    return "\n".join(line for line in lines if not line.startswith("[file saved")), [line for line in lines if line.startswith("[file saved")]


# ── Documents ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _search(rng: random.Random, side: Side, _: int) -> Case:
    return _search_case("search", rng, side)


def _not_held(rng: random.Random, side: Side, _: int) -> Case:
    return _search_case("not held", rng, side)


def _search_case(kind: str, rng: random.Random, side: Side) -> Case:
    found = make_search(rng, side, is_held=kind == "search")
    texts: dict[str, list[str]] = {}
    for file, text in found.passages:
        texts.setdefault(file.rpartition(".")[0] + ".md", []).append(text)

    def judge(outcome: Outcome) -> Judgement:
        has_answer = found.value in outcome.answer if found.value is not None else bool(NOT_SAID.search(outcome.answer))
        return Judgement(outcome.tools[:1] == ["file_search"], has_answer)

    documents = tuple((file, "\n\n".join(parts)) for file, parts in texts.items())
    return Case(kind, found.question, judge, "Answer questions about the user's documents in one short sentence.", _api_tools([_SEARCH]), documents=documents)


_SEARCH = ToolSpec("file_search", "", {})


def _plain(rng: random.Random, side: Side, i: int) -> Case:
    """Judged by evaluate, against what the base model says."""
    questions = plain_questions(side)
    return Case("plain", questions[i % len(questions)], lambda outcome: Judgement(not outcome.calls, bool(outcome.answer)))


def overlap(answer: str, other: str) -> float:
    """Words that two answers share, 0 to 1: the harmonic mean of both shares."""
    ours, theirs = (Counter(re.findall(r"\w+", text.lower())) for text in (answer, other))
    shared = sum((ours & theirs).values())
    return 2 * shared / max(1, sum(ours.values()) + sum(theirs.values()))


def _api_tools(tools: Sequence[ToolSpec]) -> tuple[dict[str, Any], ...]:
    """As a client of the API names them."""
    return tuple(
        {"type": tool.name}
        if tool.name in {"code_interpreter", "file_search"}
        else {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters}}
        for tool in tools
    )


# ── Requests by hand ─────────────────────────────────────────────────────────────────────────────────────────────────


def hand_written() -> Iterator[Case]:
    """The requests of requests.toml, each with all of the tools."""
    written = tomllib.loads(REQUESTS.read_text(encoding="utf-8"))
    functions = [ToolSpec(name, each["description"], each["parameters"]) for name, each in written["functions"].items()]
    tools = _api_tools([*functions, ToolSpec("code_interpreter", "", {}, "code"), _SEARCH])
    for request in written["requests"]:
        files = request.get("files", [])
        code_files = tuple((name, written["tables"][name]["content"].lstrip().encode()) for name in files if name in written["tables"])
        documents = tuple((name, written["documents"][name]["content"]) for name in files if name in written["documents"])
        yield Case(request["kind"], request["say"], _judge_request(request), "", tools, code_files, documents)


def _judge_request(request: dict[str, Any]) -> Callable[[Outcome], Judgement]:
    def judge(outcome: Outcome) -> Judgement:
        if "calls" in request:
            return _judge_calls(outcome, [(call["name"], call["arguments"]) for call in request["calls"]])
        if "result" in request:
            said = any(re.search(request["result"], output) for output in outcome.outputs[:2] if "Traceback" not in output)
            return Judgement(outcome.tools[:1] == ["code_interpreter"], said)
        if "answer" in request:
            return Judgement(outcome.tools[:1] == ["file_search"], bool(re.search(request["answer"], outcome.answer)))
        return Judgement(not outcome.calls, not outcome.calls and bool(outcome.answer.strip()))

    return judge
