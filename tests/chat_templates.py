"""What is asked of every chat template: it renders a chat with tools, and its calls are read back. As a command: a table of a folder of them."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offline_assistants.engine.chat_formats.choice import ChatFormat, choose
from offline_assistants.engine.chat_formats.native import NativeFormat
from offline_assistants.engine.chat_formats.template import ChatTemplate, split_literals
from offline_assistants.errors import RequestError
from offline_assistants.ports import Chat, ChatMessage, ChatToolCall, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted, ToolSpec

WEATHER = ToolSpec(
    "get_weather",
    "The weather in a city.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Its name."},
            "days": {"type": "integer"},
            "units": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city"],
    },
)
PYTHON = ToolSpec("code_interpreter", "Runs Python code.", {}, syntax="code")
TOOLS = (WEATHER, PYTHON)
ARGUMENTS = json.dumps({"city": 'São "Paulo", it\'s {hot}', "days": 3, "units": ["°C", "m/s"]}, ensure_ascii=False)
PROGRAM = 'x = {"a": [1, 2]}\nif x:\n    print("forty-two", x)'
RESULTS = ("sunny today", "forty-two")


@dataclass(slots=True)
class Said:
    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def template(source: str, control_tokens: Sequence[str] = ()) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>", control_tokens=control_tokens, strftime=lambda _: "2026-01-01")


def conversation(calls: Sequence[tuple[str, str]], *, text: str = "", end: int | None = None, tools: Sequence[ToolSpec] = TOOLS) -> Chat:
    """Instructions, a question, these calls in one turn, their results, an answer and a question; the first `end` messages of it."""
    listed = tuple(ChatToolCall(f"callnum{i:02}", name, arguments) for i, (name, arguments) in enumerate(calls))
    results = [ChatMessage("tool", RESULTS[i % 2], tool_call_id=call.call_id) for i, call in enumerate(listed)]
    said = (ChatMessage("system", "Be brief."), ChatMessage("user", "And Rome?"), ChatMessage("assistant", text, listed), *results)
    return Chat((*said, ChatMessage("assistant", "Like this."), ChatMessage("user", "Thanks?"))[:end], tuple(tools))


def read(chat_format: ChatFormat, written: str, *, piece: int = 3, prompt: str = "", tools: Sequence[ToolSpec] = TOOLS) -> Said:
    """What the format's parser makes of a text that comes in pieces."""
    parser, said = chat_format.parser(Chat((), tuple(tools)), prompt), Said()
    pieces = [written[i : i + piece] for i in range(0, len(written), piece)]
    for delta in [each for part in pieces for each in parser.feed(part)] + parser.flush():
        match delta:
            case TextDelta(more):
                said.text += more
            case ReasoningDelta(more):
                said.reasoning += more
            case ToolCallStarted(index, name):
                assert index == len(said.calls)
                said.calls.append((name, ""))
            case ToolCallDelta(index, fragment):
                said.calls[index] = (said.calls[index][0], said.calls[index][1] + fragment)
            case _:
                raise AssertionError(delta)
    return said


def turns_with(chat_format: ChatFormat, calls: Sequence[tuple[str, str]], *, text: str = "", tools: Sequence[ToolSpec] = TOOLS) -> list[str]:
    """What the template writes for turns that make these calls: one turn, or one for each call."""
    if isinstance(chat_format, NativeFormat) and chat_format.shape.is_one_by_one and len(calls) > 1:
        return [turn for call in calls for turn in turns_with(chat_format, [call], text=text, tools=tools)]
    before = "".join(piece for piece, _ in split_literals(chat_format.render(conversation(calls, text=text, end=2, tools=tools))))
    whole = "".join(piece for piece, _ in split_literals(chat_format.render(conversation(calls, text=text, tools=tools))))
    start = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before, whole, strict=False)))
    if before[start:]:
        # The template ends a prompt in words that it leaves out of a past turn. No tag of the answer is cut in two.
        start = max(whole.index("And Rome?") + len("And Rome?"), whole.rfind("<", 0, start))
    return [whole[start:].partition(RESULTS[0])[0]]


def same(said: Sequence[tuple[str, str]], meant: Sequence[tuple[str, str]]) -> bool:
    """The same tools, with arguments that mean the same."""
    return [(name, _value(name, text)) for name, text in said] == [(name, _value(name, text)) for name, text in meant]


def _value(name: str, text: str) -> Any:
    try:
        return text if name == PYTHON.name else json.loads(text)
    except ValueError:
        return text


def read_back(chat_format: ChatFormat, calls: Sequence[tuple[str, str]], *, piece: int, tools: Sequence[ToolSpec] = TOOLS) -> list[tuple[str, str]]:
    """Calls rendered by the template, and read by the parser."""
    return [call for turn in turns_with(chat_format, calls, tools=tools) for call in read(chat_format, turn, piece=piece, tools=tools).calls]


def _row(path: Path) -> tuple[str, str, str, str]:
    choice = choose(template(path.read_text()))
    calls = [("get_weather", ARGUMENTS), ("code_interpreter", PROGRAM)]
    notes = ", ".join(choice.format.shape.notes) if isinstance(choice.format, NativeFormat) else ""
    try:
        prompt = choice.format.render(conversation(calls))
        rendered = "yes" if all(word in prompt for word in ("Be brief.", "The weather in a city.", *RESULTS, "Thanks?")) else "NOT ALL"
    except RequestError as error:
        return path.stem, choice.format.name, f"NO: {error.message}", ""
    failed = [size for size in range(1, 8) if not same(read_back(choice.format, calls, piece=size), calls)]
    return path.stem, choice.format.name, rendered + (f" ({notes})" if notes else ""), "NO" if failed else "yes"


def main(folder: str) -> int:
    """Prints the table. 1 when a template fails."""
    rows = [_row(path) for path in sorted(Path(folder).glob("*.jinja"))]
    widths = [max(len(row[i]) for row in [("template", "family", "rendered", "parsed back"), *rows]) for i in range(4)]
    for row in [("template", "family", "rendered", "parsed back"), *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return int(any("NO" in row[2] or row[3] != "yes" for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
