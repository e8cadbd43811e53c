"""Conversations to learn from: chats as the product has them, with tools as it tells of them and results as it shows them."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from offline_assistants.ports import ChatMessage, ChatToolCall, ToolSpec
from offline_assistants.runs.history import search_arguments
from offline_assistants.runs.tool_calls import code_spec, search_spec
from scripts.starter.functions import Function, Request, domains, dressed, make_function, make_request, make_result, vague_request
from scripts.starter.passages import SearchCase, make_search
from scripts.starter.pools import Side
from scripts.starter.programs import Question, Run, broken, calculation, joined, make_question, read_line
from scripts.starter.tables import Table, make_table

SYSTEMS = (
    "",
    "",
    "You are a helpful assistant.",
    "You answer questions about the user's documents in one short sentence. You search first.",
    "You run the user's Python programs exactly as they are, then you answer in one short sentence.",
    "You answer in one short sentence.",
    "You are a data analyst. Use the tools.",
    "You are an assistant in an office. Be brief.",
    "Answer questions with the help of your tools. If no tool helps, answer by yourself.",
    "Use file_search for questions about the files and Python for numbers.",
    "You are a friendly assistant.",
    "You help customers. Never make things up.",
)
_CANNOT = (
    "I can't do that: none of my tools fits.",
    "I have no tool for that.",
    "Sorry, I can't do that here.",
    "None of my tools can do that.",
)


@dataclass(slots=True)
class Conversation:
    """Messages with the tools that they are held with; `num_untrained` of the assistant's first turns are context only."""

    kind: str
    system: str
    tools: Sequence[ToolSpec]
    messages: list[ChatMessage] = field(default_factory=list[ChatMessage])
    untrained: set[int] = field(default_factory=set[int])
    """Indexes of assistant messages that nothing is learned from."""
    cut: set[int] = field(default_factory=set[int])
    """Those that do not end where they stop."""

    def say(self, role: str, content: str, *, is_learned: bool = True) -> None:
        if role == "assistant" and not is_learned:
            self.untrained.add(len(self.messages))
        self.messages.append(ChatMessage(role, content))  # pyright: ignore[reportArgumentType]

    def call(self, calls: Sequence[tuple[str, str]], results: Sequence[str] = (), *, is_learned: bool = True) -> None:
        """Calls with their results; none for a conversation that ends with its calls."""
        made = tuple(ChatToolCall(f"c{len(self.messages)}_{i}", name, arguments) for i, (name, arguments) in enumerate(calls))
        if not is_learned:
            self.untrained.add(len(self.messages))
        self.messages.append(ChatMessage("assistant", "", made))
        self.messages += [ChatMessage("tool", result, tool_call_id=call.call_id) for call, result in zip(made, results, strict=False)]

    def to_json(self) -> dict[str, Any]:
        """One line of the data."""
        return {
            "kind": self.kind,
            "tools": [{"name": each.name, "description": each.description, "parameters": each.parameters, "syntax": each.syntax} for each in self.tools],
            "messages": [_message(each) for each in ([ChatMessage("system", self.system)] if self.system else []) + self.messages],
            "untrained": sorted(i + bool(self.system) for i in self.untrained),
            "cut": sorted(i + bool(self.system) for i in self.cut),
        }


def _message(message: ChatMessage) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        made["calls"] = [[call.call_id, call.name, call.arguments] for call in message.tool_calls]
    if message.tool_call_id:
        made["call_id"] = message.tool_call_id
    return made


# ── Noise ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def typed(text: str, rng: random.Random, keep: Sequence[str] = ()) -> str:
    """As people type: now and then a slip in a word that is none of those to keep, or no capital at the beginning."""
    if rng.random() < 0.15:
        text = text[0].upper() + text[1:]
    elif rng.random() < 0.15 and text[:1].isupper() and not text[1:2].isupper():
        text = text[0].lower() + text[1:] if not any(word.startswith(text.split()[0]) for word in keep) else text
    words = text.split(" ")
    kept = " ".join(keep).lower()
    slips = [i for i, word in enumerate(words) if word.isalpha() and word.islower() and len(word) > 4 and word not in kept]
    if slips and rng.random() < 0.2:
        place = rng.choice(slips)
        words[place] = _slip(words[place], rng)
    return " ".join(words)


def _slip(word: str, rng: random.Random) -> str:
    i = rng.randint(1, len(word) - 2)
    return rng.choice((word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:], word[:i] + word[i + 1] + word[i] + word[i + 2 :]))


# ── Tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def spec(function: Function) -> ToolSpec:
    return ToolSpec(function.name, function.description, function.parameters)


def _functions(rng: random.Random, side: Side, count: int) -> list[Function]:
    """Functions of different nouns, so that one request fits one of them."""
    found: list[Function] = []
    nouns: set[str] = set()
    for domain in rng.sample(domains(side), min(len(domains(side)), 3 * count + 4)):
        if len(found) < count and not nouns & set(domain.nouns):
            nouns |= set(domain.nouns)
            found.append(make_function(domain, rng, side))
    return found


def _with_others(rng: random.Random, side: Side, tools: list[ToolSpec], *, most: int = 3) -> list[ToolSpec]:
    """With tools beside them that are not needed, in any order."""
    names = {tool.name for tool in tools}
    others = [spec(function) for function in _functions(rng, side, rng.choice((0, 0, 1, 2, most)))]
    if "code_interpreter" not in names and rng.random() < 0.25:
        table = make_table(rng, side)
        others.append(code_spec([(table.file, table.told)] if rng.random() < 0.5 else []))
    if "file_search" not in names and rng.random() < 0.25:
        others.append(search_spec(make_search(rng, side, is_held=True).files if rng.random() < 0.7 else ()))
    whole = tools + [tool for tool in others if tool.name not in names]
    rng.shuffle(whole)
    return whole


def _arguments(request: Request) -> str:
    return json.dumps(request.arguments, ensure_ascii=False)


def _words(request: Request) -> list[str]:
    return [json.dumps(request.arguments, ensure_ascii=False), request.said] if not request.arguments else [str(each) for each in request.arguments.values()]


# ── Turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _call_one(chat: Conversation, function: Function, rng: random.Random, side: Side, *, is_answered: bool = True) -> None:
    request = make_request(function, rng, side)
    chat.say("user", typed(dressed(request.said, rng), rng, _words(request)))
    result, answer = make_result(function.domain, request, rng)
    chat.call([(request.name, _arguments(request))], [result] if is_answered else [])
    if is_answered:
        chat.say("assistant", answer)


def _call_several(chat: Conversation, functions: Sequence[Function], rng: random.Random, side: Side, *, is_answered: bool = True) -> None:
    count = rng.choice((2, 2, 2, 3))
    chosen = rng.sample(functions, min(count, len(functions))) if rng.random() < 0.6 else [rng.choice(functions)] * count
    requests = _different([make_request(function, rng, side) for function in chosen])
    said = [request.said.rstrip("?.!") for request in requests]
    joiner = rng.choice((" and ", ", and ", "; ", ". ", ", then ", " + ", "\n", ", also "))
    text = ", ".join(said[:-1]) + joiner + said[-1] if len(said) > 1 else said[0]
    chat.say("user", typed(dressed(text, rng), rng, [word for request in requests for word in _words(request)]))
    made = [make_result(function.domain, request, rng) for function, request in zip(chosen, requests, strict=False)]
    chat.call([(request.name, _arguments(request)) for request in requests], [result for result, _ in made] if is_answered else [])
    if is_answered:
        chat.say("assistant", " ".join(dict.fromkeys(answer for _, answer in made)))


def _different(requests: list[Request]) -> list[Request]:
    return list({(request.name, _arguments(request)): request for request in requests}.values())


def _cannot(chat: Conversation, missing: Function, rng: random.Random, side: Side) -> None:
    """A request for a function that is not there."""
    request = make_request(missing, rng, side)
    chat.say("user", typed(dressed(request.said, rng), rng, _words(request)))
    chat.say("assistant", rng.choice(_CANNOT))


# ── Kinds ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def function_call(rng: random.Random, side: Side) -> Conversation:
    functions = _functions(rng, side, rng.randint(1, 5))
    chat = Conversation("function", rng.choice(SYSTEMS), _with_others(rng, side, [spec(each) for each in functions], most=1))
    for _ in range(rng.choice((1, 1, 2, 3))):
        _call_one(chat, rng.choice(functions), rng, side)
    return chat


def several_calls(rng: random.Random, side: Side) -> Conversation:
    functions = _functions(rng, side, rng.randint(2, 5))
    chat = Conversation("calls", rng.choice(SYSTEMS), _with_others(rng, side, [spec(each) for each in functions], most=1))
    for _ in range(rng.choice((1, 1, 2))):
        _call_several(chat, functions, rng, side)
    return chat


def nothing_fits(rng: random.Random, side: Side) -> Conversation:
    """A request for a function that is not there, among tools that do other things."""
    missing, *functions = _functions(rng, side, rng.randint(2, 5))
    tools = [spec(each) for each in functions]
    system = rng.choice(SYSTEMS)
    if rng.random() < 0.3:
        tools.append(search_spec(()) if rng.random() < 0.5 else code_spec([]))
    chat = Conversation("none", system, tools)
    _cannot(chat, missing, rng, side)
    return chat


def requests_to_functions(rng: random.Random, side: Side, answers: Sequence[dict[str, Any]]) -> list[Conversation]:
    """Requests of all kinds to the same functions, each in a conversation of its own; most end with the call."""
    missing, *functions = _functions(rng, side, rng.randint(2, 5))
    tools, system = _with_others(rng, side, [spec(each) for each in functions], most=1), rng.choice(SYSTEMS)
    made: list[Conversation] = []
    for kind in rng.choices(("function", "calls", "none", "asks back", "plain"), (0.36, 0.30, 0.16, 0.06, 0.12), k=rng.randint(4, 7)):
        chat, is_answered = Conversation(kind, system, tools), rng.random() < 0.25
        match kind:
            case "function":
                _call_one(chat, rng.choice(functions), rng, side, is_answered=is_answered)
            case "calls":
                _call_several(chat, functions, rng, side, is_answered=is_answered)
            case "none":
                _cannot(chat, missing, rng, side)
            case "plain":
                _say_as_base(chat, rng.choice(answers))
            case _:
                vague = vague_request(rng.choice(functions), rng)
                if vague is None:
                    continue
                chat.say("user", typed(dressed(vague[0], rng), rng))
                chat.say("assistant", vague[1])
        made.append(chat)
    return made


def plain_talk(rng: random.Random, side: Side, answers: Sequence[dict[str, Any]]) -> Conversation:
    """What the base model itself says, without tools."""
    answer = rng.choice(answers)
    chat = Conversation("plain", answer["system"], [])
    _say_as_base(chat, answer)
    return chat


def _say_as_base(chat: Conversation, answer: dict[str, Any]) -> None:
    chat.say("user", answer["question"])
    if not answer["is_whole"]:
        chat.cut.add(len(chat.messages))
    chat.say("assistant", answer["answer"])


def table_question(rng: random.Random, side: Side, run: Run) -> Conversation:
    table = make_table(rng, side)
    chat = Conversation("code", rng.choice(SYSTEMS), [])
    files = [table] if rng.random() < 0.7 else rng.sample([table, make_table(rng, side)], 2)
    chat.tools = _with_others(rng, side, [_told(files)], most=2)
    for _ in range(rng.choice((1, 2, 2, 3))):
        _ask(chat, make_question(table, rng, run), rng, run)
    return chat


def _told(files: Sequence[Table]) -> ToolSpec:
    return code_spec([(each.file, each.told) for each in files])


def questions_to_a_table(rng: random.Random, side: Side, run: Run) -> list[Conversation]:
    """Questions about one table, each in a conversation of its own; some end with the program."""
    table = make_table(rng, side)
    files = [table] if rng.random() < 0.7 else rng.sample([table, make_table(rng, side)], 2)
    tools, system = _with_others(rng, side, [_told(files)], most=2), rng.choice(SYSTEMS)
    made = [Conversation("code", system, tools) for _ in range(rng.randint(3, 5))]
    for chat in made:
        _ask(chat, make_question(table, rng, run), rng, run, is_answered=rng.random() < 0.4)
    return made


def _ask(chat: Conversation, question: Question, rng: random.Random, run: Run, *, is_answered: bool = True) -> None:
    quoted = [column.name for column in question.table.columns] + [question.table.file] + [value for each in question.table.categories for value in each.values]
    chat.say("user", typed(question.said, rng, quoted))
    mistake = broken(question, rng, run) if rng.random() < 0.12 else None
    if mistake:
        chat.call([("code_interpreter", mistake[0])], [mistake[1]], is_learned=False)
    chat.call([("code_interpreter", question.code)], [question.output] if is_answered else [])
    if is_answered:
        chat.say("assistant", question.answer)


def unlisted_table(rng: random.Random, side: Side, run: Run) -> Conversation:
    """A workbook or JSON, whose columns have to be looked up first."""
    table = make_table(rng, side, endings=("xlsx", "json"))
    chat = Conversation("code", rng.choice(SYSTEMS), _with_others(rng, side, [_told([table])], most=2))
    question = make_question(table, rng, run)
    chat.say("user", typed(question.said, rng, [column.name for column in table.columns]))
    chat.call([("code_interpreter", f"{read_line(table)}print(df.columns.tolist())")], [str([column.name for column in table.columns])])
    chat.call([("code_interpreter", question.code)], [question.output])
    chat.say("assistant", question.answer)
    return chat


def two_tables(rng: random.Random, side: Side, run: Run) -> Conversation:
    question, other = joined(rng, side, run)
    table = question.table
    told = [(table.file, table.told), (other.file, other.told)]
    rng.shuffle(told)
    chat = Conversation("code", rng.choice(SYSTEMS), _with_others(rng, side, [code_spec(told)], most=1))
    _ask(chat, question, rng, run)
    return chat


def calculated(rng: random.Random, side: Side, run: Run) -> Conversation:
    chat = Conversation("code", rng.choice(SYSTEMS), _with_others(rng, side, [code_spec([])], most=2))
    for _ in range(rng.choice((1, 2))):
        _ask(chat, calculation(rng, run), rng, run)
    return chat


def given_program(rng: random.Random, side: Side, run: Run) -> Conversation:
    """A program that the user wrote, to be run as it is."""
    table = make_table(rng, side)
    question = make_question(table, rng, run)
    chat = Conversation("code", rng.choice(SYSTEMS), _with_others(rng, side, [_told([table])], most=1))
    lead = rng.choice(
        ("Run this program:", "Please run this:", "run this", "Execute exactly this code:", f"{question.said}\n\nRun this program:", "What does this print?")
    )
    chat.say("user", f"{lead}\n```python\n{question.code}\n```")
    chat.call([("code_interpreter", question.code)], [question.output])
    chat.say("assistant", question.answer)
    return chat


def searched(rng: random.Random, side: Side) -> Conversation:
    case = make_search(rng, side, is_held=rng.random() < 0.58)
    chat = Conversation("search", rng.choice(SYSTEMS), _with_others(rng, side, [search_spec(case.files)], most=2))
    _search(chat, case, rng)
    return chat


def _search(chat: Conversation, case: SearchCase, rng: random.Random) -> None:
    chat.say("user", typed(case.question, rng, [case.query.split()[-1], case.query]))
    found = "\n\n".join(f"{file}:\n{text}" for file, text in case.passages)
    chat.call([("file_search", search_arguments(case.query))], [found])
    chat.say("assistant", case.answer)


def long_thread(rng: random.Random, side: Side, run: Run) -> Conversation:
    """One thread with all kinds of requests, as they come."""
    functions = _functions(rng, side, rng.randint(1, 3))
    table = make_table(rng, side)
    case = make_search(rng, side, is_held=True)
    chat = Conversation("long", rng.choice(SYSTEMS), [spec(each) for each in functions] + [_told([table]), search_spec(case.files)])
    rng.shuffle(chat.tools)
    steps: list[Callable[[], None]] = [lambda: _search(chat, case, rng)]
    steps += [lambda: _ask(chat, make_question(table, rng, run), rng, run)] * rng.randint(1, 2)
    steps += [lambda: _call_one(chat, rng.choice(functions), rng, side)] * rng.randint(1, 2)
    rng.shuffle(steps)
    for step in steps:
        step()
    return chat


# ── The mixture ──────────────────────────────────────────────────────────────────────────────────────────────────────

Kind = Callable[[random.Random, Side], Conversation | list[Conversation]]
MAX_BRIEF = 240


def kinds(answers: Sequence[dict[str, Any]], run: Run) -> tuple[tuple[float, Kind], ...]:
    """How much of everything there is. `answers`: of the base model to plain questions. `run`: how programs are run, to know what they print."""
    brief = [answer for answer in answers if answer["is_whole"] and len(answer["answer"]) <= MAX_BRIEF]
    return (
        (0.31, functools.partial(requests_to_functions, answers=brief)),
        (0.14, functools.partial(plain_talk, answers=answers)),
        (0.17, functools.partial(questions_to_a_table, run=run)),
        (0.02, functools.partial(unlisted_table, run=run)),
        (0.03, functools.partial(two_tables, run=run)),
        (0.03, functools.partial(calculated, run=run)),
        (0.03, functools.partial(given_program, run=run)),
        (0.25, searched),
        (0.02, functools.partial(long_thread, run=run)),
    )


def make_family(seed: int, side: Side, mixture: Sequence[tuple[float, Kind]]) -> list[Conversation]:
    """The conversations of this number, held with the same tools: the same for the same number, wherever and however often they are made."""
    rng = random.Random(f"{side} {seed}")
    made = rng.choices([kind for _, kind in mixture], [weight for weight, _ in mixture])[0](rng, side)
    return made if isinstance(made, list) else [made]
