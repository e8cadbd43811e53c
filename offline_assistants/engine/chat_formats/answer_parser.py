"""Follows an answer as it is written: thoughts apart, calls read out of the text, and no word of the syntax shown. Knows no tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from offline_assistants.engine.chat_formats.json_arguments import ProgramReader
from offline_assistants.engine.chat_formats.rules import loose
from offline_assistants.engine.chat_formats.schemas import arguments_schema
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, NAME, ArgumentReader, CallSyntax, Hole, Maybe, Part, Syntax, Thoughts
from offline_assistants.engine.detokenizer import num_held_back
from offline_assistants.ports import Delta, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted, ToolSpec

_MAX_HEAD = 600
"""Characters in which a call has to name its tool. What is longer is none, and is shown as the text that it is."""


class TextReader(Protocol):
    """Turns text into text and calls."""

    @property
    def num_calls(self) -> int:
        """Calls that were completed."""
        ...

    @property
    def is_in_call(self) -> bool:
        """A call has begun and is not closed."""
        ...

    def feed(self, text: str) -> list[Delta]: ...

    def flush(self) -> list[Delta]: ...


class AnswerParser:
    """Thoughts first; what is left goes to the reader of text and calls."""

    def __init__(self, thoughts: Thoughts | None, reader: TextReader | None, *, is_thinking: bool = False) -> None:
        """`is_thinking`: the prompt ends in the middle of a thought."""
        self._thoughts = thoughts
        self._reader = reader
        self._is_thinking = is_thinking
        self._may_think = thoughts is not None
        self._is_after_thought = False
        self._held = ""
        self._openings = (thoughts.opening, *thoughts.also_opening) if thoughts else ()

    @property
    def num_calls(self) -> int:
        return self._reader.num_calls if self._reader else 0

    @property
    def is_in_call(self) -> bool:
        return self._reader is not None and self._reader.is_in_call

    @property
    def is_thinking(self) -> bool:
        """What comes next belongs to a thought, as far as can be told."""
        return self._is_thinking or (bool(self._held) and self._could_be_thought(self._held.lstrip()))

    def _could_be_thought(self, start: str) -> bool:
        return any(word.startswith(start) for word in (*self._openings, *([self._thoughts.closing] if self._thoughts else [])))

    def feed(self, text: str) -> list[Delta]:
        """What the text means, as far as that is certain."""
        deltas: list[Delta] = []
        self._held += text
        while self._thoughts and self._may_think and self._held and self._advance(self._thoughts, deltas):
            pass
        if not self._may_think:
            text, self._held = self._held, ""
            deltas += self._read(text)
        return deltas

    def flush(self) -> list[Delta]:
        """What was held back, now that nothing more comes."""
        text, self._held = self._held, ""
        if self._is_thinking:
            return [ReasoningDelta(text)] if text else []
        return [*self._read(text), *(self._reader.flush() if self._reader else [])]

    def _read(self, text: str) -> list[Delta]:
        if self._is_after_thought:
            text = text.lstrip()
            self._is_after_thought = not text
        if not text:
            return []
        return self._reader.feed(text) if self._reader else [TextDelta(text)]

    def _advance(self, thoughts: Thoughts, deltas: list[Delta]) -> bool:
        if self._is_thinking:
            thought, found, rest = self._held.partition(thoughts.closing)
            keep = 0 if found else num_held_back(thought, thoughts.closing)
            if said := thought[: len(thought) - keep]:
                deltas.append(ReasoningDelta(said))
            self._held = rest if found else thought[len(thought) - keep :]
            if found:
                self._is_thinking, self._is_after_thought = False, True
            return bool(found)
        start = self._held.lstrip()
        if opening := next((word for word in self._openings if start.startswith(word)), None):
            self._held, self._is_thinking = start[len(opening) :], True
            return True
        if start.startswith(thoughts.closing):
            # An empty thought, which the template opened for it.
            self._held, self._is_after_thought = start[len(thoughts.closing) :], True
            return True
        self._may_think = not start or self._could_be_thought(start)
        return False


class CallReader:
    """Reads calls in the syntax of a family. Safe on whatever comes; on what the family's grammar allows, complete."""

    def __init__(self, syntax: Syntax, tools: Sequence[ToolSpec]) -> None:
        self._syntax = syntax
        self._tools = {tool.name: tool for tool in tools}
        self._calls = syntax.calls
        self._openings = [word for word in ((self._calls.opening, *self._calls.also_opening) if self._calls and tools else ()) if word]
        self._silent = [word for word in (syntax.before_text, syntax.after_text, *syntax.silent) if word]
        self._buffer = ""
        self._opened = ""
        """The words that opened a call whose head is not read yet."""
        self._arguments: ArgumentReader | None = None
        self._program: ProgramReader | None = None
        self._state = "text"
        self._has_text = False
        self._num_calls = 0
        if syntax.in_prompt:
            self._buffer = syntax.in_prompt
        if self._calls:
            self._head, self._tail = head_and_tail(self._calls)
            self._next_head, _ = head_and_tail(self._calls, before=self._calls.between)

    @property
    def num_calls(self) -> int:
        return self._num_calls

    @property
    def is_in_call(self) -> bool:
        return self._state in {"head", "arguments", "tail"}

    def feed(self, text: str) -> list[Delta]:
        self._buffer += text
        deltas: list[Delta] = []
        while self._advance(deltas):
            pass
        return deltas

    def flush(self) -> list[Delta]:
        """Text that was held back, and a call that never named its tool. What is left of an unfinished call is dropped."""
        text, self._buffer = self._buffer, ""
        if self._state == "tail" and self._tail.match(text):
            self._num_calls += 1
        if self._state == "head":
            text = self._opened + text
        for word in sorted((self._syntax.in_prompt, *self._silent), key=len, reverse=True):
            text = text.replace(word, "") if word else text
        is_text = self._state in {"text", "head"} and not self._num_calls
        self._state = "end"
        return [TextDelta(text)] if text and is_text else []

    def _advance(self, deltas: list[Delta]) -> bool:
        match self._state:
            case "text":
                return self._read_text(deltas)
            case "head":
                return self._read_head(self._head, deltas)
            case "arguments":
                return self._read_arguments(deltas)
            case "tail":
                return self._read_tail()
            case "between":
                return self._read_head(self._next_head, deltas)
            case _:
                self._buffer = ""
                return False

    def _read_text(self, deltas: list[Delta]) -> bool:
        is_first = self._calls is not None and self._calls.is_first
        openings = [] if is_first and self._has_text else self._openings
        found = [(place, -len(word), word) for word in [*openings, *self._silent] if (place := self._buffer.find(word)) >= 0]
        if is_first and openings:
            found = [each for each in found if each[2] not in openings or not self._buffer[: each[0]].strip()]
        place, _, word = min(found, default=(-1, 0, ""))
        if word and any(other != word and other.startswith(self._buffer[place:]) for other in [*openings, *self._silent]):
            return False  # it may yet become a longer one
        keep = max((num_held_back(self._buffer, each) for each in [*openings, *self._silent]), default=0)
        end = place if word else len(self._buffer) - keep
        text, self._buffer = self._buffer[:end], self._buffer[end + len(word) :]
        if word in openings:
            self._state, self._opened = "head", word
            text = text if text.strip() else ""
        elif is_first and not self._has_text and not text.strip() and not word:
            # White space in front of what may yet become a call.
            self._buffer, text = text + self._buffer, ""
        if text:
            self._has_text = True
            deltas.append(TextDelta(text))
        return bool(word)

    def _read_head(self, pattern: re.Pattern[str], deltas: list[Delta]) -> bool:
        found = pattern.match(self._buffer)
        if found:
            self._begin(found["name"], deltas)
            self._buffer = self._buffer[found.end() :]
            return True
        if self._state == "between":
            closing = self._calls.closing if self._calls else ""
            is_over = len(self._buffer) > _MAX_HEAD or (closing and self._buffer.lstrip().startswith(closing.strip()))
            self._state = "end" if is_over else "between"
            return bool(is_over)
        if len(self._buffer) > _MAX_HEAD:
            deltas.append(TextDelta(self._opened))
            self._state, self._opened, self._has_text = "text", "", True
            return True
        return False

    def _begin(self, name: str, deltas: list[Delta]) -> None:
        tool = self._tools.get(name)
        self._program = ProgramReader() if tool and tool.syntax == "code" else None
        self._arguments = self._calls.arguments.reader(parameters_of(tool)) if self._calls else None
        self._state = "arguments"
        deltas.append(ToolCallStarted(self._num_calls, name))

    def _read_arguments(self, deltas: list[Delta]) -> bool:
        if self._arguments is None:
            return False
        fragment, self._buffer, is_done = self._arguments.feed(self._buffer)
        if self._program:
            fragment = self._program.feed(fragment)
        if fragment:
            deltas.append(ToolCallDelta(self._num_calls, fragment))
        self._state = "tail" if is_done else "arguments"
        return is_done

    def _read_tail(self) -> bool:
        found = self._tail.match(self._buffer)
        if found:
            self._num_calls += 1
            self._buffer, self._state = self._buffer[found.end() :], "between"
        elif len(self._buffer) > _MAX_HEAD:
            # The arguments are whole; what stands behind them is not what it should be.
            self._num_calls += 1
            self._state = "end"
        return self._state != "tail"


def parameters_of(tool: ToolSpec | None) -> dict[str, object]:
    """The JSON schema of a tool's arguments, as a model with a syntax of its own sees it."""
    if tool is None:
        return {}
    if tool.syntax == "code":
        code = {"type": "string", "description": "The program."}
        return {"type": "object", "properties": {"code": code}, "required": ["code"], "additionalProperties": False}
    return arguments_schema(tool.parameters)


def arguments_json(text: str, tool: ToolSpec | None) -> str:
    """What a call's arguments are in JSON: a program stands in an object."""
    return json.dumps({"code": text}, ensure_ascii=False) if tool and tool.syntax == "code" else text


def head_and_tail(calls: CallSyntax, *, before: str = "") -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What stands before the arguments of a call and names its tool, and what stands behind them."""
    place = calls.call.index(ARGUMENTS)
    head = r"\s*" + loose(before) + _pattern(calls.call[:place]) + f"(?={calls.arguments.first})"
    return re.compile(head, re.DOTALL), re.compile(r"\s*" + _pattern(calls.call[place + 1 :]), re.DOTALL)


def _pattern(parts: Iterable[Part | Hole]) -> str:
    said, is_named = "", False
    for part in parts:
        match part:
            case str():
                said += loose(part)
            case Maybe(inner):
                said += f"(?:{_pattern(inner)})?"
            case _:
                name = "(?P=name)" if is_named else r"(?P<name>[\w.\-]{1,128})"
                said += name if part is NAME else r"[\w.:\-]{0,64}?"
                is_named = is_named or part is NAME
    return said
