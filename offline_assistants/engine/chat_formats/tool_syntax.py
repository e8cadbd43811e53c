"""How a tool call is written in the model's text: rendered, described as a grammar, and parsed here, so that the three agree. Knows no template and no tokens.

    <tool_call>                                                  <tool_call>
    {"name": "get_weather", "arguments": {"city": "Paris"}}      ```python
    </tool_call>                                                 print(6 * 7)
                                                                 ```
                                                                 </tool_call>

The left form is that of Hermes and Qwen, which many models were trained on. The right form is for tools whose argument is a program: small models copy
and write code well and escape it badly. What is rendered for a past call is, character for character, what was parsed from the model when it made the call.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from offline_assistants.engine.detokenizer import num_held_back
from offline_assistants.ports import ChatToolCall, Delta, TextDelta, ToolCallDelta, ToolCallStarted, ToolSpec

OPEN = "<tool_call>"
CLOSE = "</tool_call>"
MAX_CALLS = 16
"""Calls in one turn. Nobody asks for more, and a small model that repeats itself must come to an end."""


def call_head(tool: ToolSpec, tools: Sequence[ToolSpec]) -> str:
    """What stands between OPEN and the arguments."""
    if tool.syntax == "json":
        return f'\n{{"name": {json.dumps(tool.name)}, "arguments": '
    # The usual name of the fence, unless it could mean two tools.
    is_alone = sum(other.syntax == "code" for other in tools) == 1
    return f"\n```{'python' if is_alone else tool.name}\n"


def call_tail(tool: ToolSpec) -> str:
    """What stands after the arguments, CLOSE included."""
    return f"}}\n{CLOSE}" if tool.syntax == "json" else f"\n```\n{CLOSE}"


def render_call(call: ChatToolCall, tools: Sequence[ToolSpec]) -> str:
    """A past call, as the model wrote it. A tool that the assistant no longer has is taken for one with JSON arguments."""
    tool = next((tool for tool in tools if tool.name == call.name), ToolSpec(call.name, "", {}))
    return OPEN + call_head(tool, tools) + call.arguments + call_tail(tool)


class CallParser:
    """Turns the model's text into text and tool calls as it comes, and lets no part of the syntax out.

    It relies on the grammar: after OPEN comes the head of one of `tools`, and after its arguments the tail.
    """

    def __init__(self, tools: Sequence[ToolSpec]) -> None:
        self._heads = [(call_head(tool, tools), tool) for tool in tools]
        self._tool: ToolSpec | None = None
        self._is_in_call = False
        self._buffer = ""
        self._num_calls = 0

    @property
    def num_calls(self) -> int:
        """Calls that were completed."""
        return self._num_calls

    @property
    def is_in_call(self) -> bool:
        """A call has begun and is not closed."""
        return self._is_in_call

    def feed(self, text: str) -> list[Delta]:
        """What the text means, as far as that is certain."""
        self._buffer += text
        deltas: list[Delta] = []
        while self._advance(deltas):
            pass
        return deltas

    def flush(self) -> list[Delta]:
        """Text that was held back because it could have been the beginning of a call. What is left of an unfinished call is dropped."""
        text, self._buffer = self._buffer, ""
        return [TextDelta(text)] if text and not self._is_in_call and not self._num_calls else []

    def _advance(self, deltas: list[Delta]) -> bool:
        if not self._is_in_call:
            return self._read_text(deltas)
        if self._tool is None:
            return self._read_head(deltas)
        return self._read_arguments(self._tool, deltas)

    def _read_text(self, deltas: list[Delta]) -> bool:
        text, found = self._take_until(OPEN)
        self._is_in_call = found
        # Between two calls stands a line break, which is syntax.
        if text and not self._num_calls:
            deltas.append(TextDelta(text))
        return found

    def _read_head(self, deltas: list[Delta]) -> bool:
        for head, tool in self._heads:
            if self._buffer.startswith(head):
                self._tool = tool
                self._buffer = self._buffer[len(head) :]
                deltas.append(ToolCallStarted(self._num_calls, tool.name))
                return True
        return False

    def _read_arguments(self, tool: ToolSpec, deltas: list[Delta]) -> bool:
        arguments, found = self._take_until(call_tail(tool))
        if arguments:
            deltas.append(ToolCallDelta(self._num_calls, arguments))
        if found:
            self._num_calls += 1
            self._tool, self._is_in_call = None, False
        return found

    def _take_until(self, marker: str) -> tuple[str, bool]:
        before, found, after = self._buffer.partition(marker)
        if not found:
            keep = num_held_back(before, marker)
            before, after = before[: len(before) - keep], before[len(before) - keep :]
        self._buffer = after
        return before, bool(found)
