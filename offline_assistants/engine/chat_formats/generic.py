"""Any model with a chat template: tools are described in the system text, calls and results are ordinary text. Knows no tokens.

A prompt is a function of the chat alone, and a turn is rendered the same however many turns follow, so that what is in the KV cache matches.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from offline_assistants.engine.chat_formats.answer_grammar import with_thoughts
from offline_assistants.engine.chat_formats.answer_parser import AnswerParser
from offline_assistants.engine.chat_formats.generic_grammar import lark_for
from offline_assistants.engine.chat_formats.reasoning import ends_in_thought, has_thought, thoughts_of, variables_of
from offline_assistants.engine.chat_formats.template import ChatTemplate, picture_mark, plain
from offline_assistants.engine.chat_formats.tool_syntax import CLOSE, OPEN, CallParser, call_head, call_tail, render_call
from offline_assistants.errors import RequestError
from offline_assistants.ports import Chat, ChatMessage, ToolSpec

Turn = tuple[str, str]
"""A role that every template knows, and a text."""
MAX_REPEATED_QUESTION = 400
"""Characters of the first paragraph of a question that is said again behind the results of a tool."""


class GenericFormat:
    def __init__(self, template: ChatTemplate, *, name: str = "generic", tools_told: Callable[[Sequence[ToolSpec]], str] | None = None) -> None:
        """`tools_told`: how the tools are described, for models that were trained on a description of their own."""
        self.name = name
        self._tools_told = tools_told or tool_section
        self._template = template
        self._thoughts = thoughts_of(template.source)
        self._takes_system = self._accepts([("system", "probe"), ("user", "hi")], must_contain="probe")
        self._takes_repeated_roles = self._accepts([("user", "probe"), ("user", "again")], must_contain="probe")

    def render(self, chat: Chat) -> str:
        """The prompt, ending where the assistant's next words begin. Raises RequestError when the template refuses the chat."""
        turns = _turns(chat)
        if chat.tools:
            turns = _with_system(turns, plain(self._tools_told(chat.tools)))
        if not self._takes_system:
            turns = _system_in_user(turns)
        if not self._takes_repeated_roles:
            turns = _alternating(turns)
        return self._template.render(turns or [("user", "")], variables_of(self._template.source, chat.reasoning_effort))

    def grammar(self, chat: Chat, prompt: str, special_words: Mapping[str, int]) -> str | None:
        """What may follow the prompt, in llguidance's form of Lark; None when any text may. Raises RequestError for what cannot be honoured."""
        thoughts = None if has_thought(prompt, self._thoughts) else self._thoughts
        return with_thoughts(lark_for(chat), thoughts, special_words, is_thinking=ends_in_thought(prompt, thoughts))

    def parser(self, chat: Chat, prompt: str) -> AnswerParser:
        """Reads what follows the prompt."""
        reader = CallParser(chat.tools) if chat.tools else None
        return AnswerParser(self._thoughts, reader, is_thinking=ends_in_thought(prompt, self._thoughts))

    @property
    def words(self) -> list[str]:
        """Words of the syntax, which the parser has to see even if they are control tokens."""
        return [self._thoughts.opening, self._thoughts.closing] if self._thoughts else []

    def _accepts(self, turns: Sequence[Turn], *, must_contain: str) -> bool:
        try:
            return must_contain in self._template.render(turns)
        except RequestError:
            return False


# ── Tools in the system text ─────────────────────────────────────────────────────────────────────────────────────────


def tool_section(tools: Sequence[ToolSpec]) -> str:
    """What the model is told of its tools: a line for each, and the form of a call."""
    lines = [*tool_lines(tools), "", "To call a tool, answer with:"]
    json_tool = next((tool for tool in tools if tool.syntax == "json"), None)
    code_tool = next((tool for tool in tools if tool.syntax == "code"), None)
    if json_tool:
        lines += [f'{OPEN}\n{{"name": "TOOL_NAME", "arguments": {{"ARGUMENT": VALUE}}}}\n{CLOSE}']
    if code_tool:
        lines += [f"{OPEN}{call_head(code_tool, tools)}CODE{call_tail(code_tool)}"]
    return "\n".join(lines)


def tool_lines(tools: Sequence[ToolSpec]) -> list[str]:
    """A heading, and a line for each tool."""
    return ["# Tools", "", *(_tool_line(tool) for tool in tools)]


def _tool_line(tool: ToolSpec) -> str:
    if tool.syntax == "code":
        return f"- {tool.name}: {tool.description}"
    return f"- {tool.name}: {tool.description} Arguments: {json.dumps(_brief(tool.parameters), ensure_ascii=False)}"


def _brief(schema: dict[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", schema.get("properties", {}))


# ── Turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _turns(chat: Chat) -> list[Turn]:
    """A turn a message, but for the results of one round of calls: these are one turn of the user."""
    turns: list[Turn] = []
    pictures = itertools.count()
    names: dict[str, str] = {}
    question, results = "", list[str]()
    for message in chat.messages:
        if message.role != "tool" and results:
            turns.append(_result_turn(results, question))
            results = []
        match message.role:
            case "tool":
                results.append(_result(plain(names.get(message.tool_call_id or "", "the tool")), content_of(message, pictures)))
            case "assistant":
                names |= {call.call_id: call.name for call in message.tool_calls}
                turns.append(("assistant", content_of(message, pictures) + plain("\n".join(render_call(call, chat.tools) for call in message.tool_calls))))
            case "system" | "user":
                question = plain(message.content) if message.role == "user" else question
                turns.append((message.role, content_of(message, pictures)))
    return [*turns, _result_turn(results, question)] if results else turns


def content_of(message: ChatMessage, pictures: Iterator[int]) -> str:
    """The message's text with a mark for each of its pictures, which are counted through the chat."""
    parts, end = list[str](), 0
    for picture in message.pictures:
        parts += [plain(message.content[end : picture.offset]), picture_mark(next(pictures))]
        end = picture.offset
    return "".join([*parts, plain(message.content[end:])])


def _result(name: str, content: str) -> str:
    return f"From {name}:\n\n---\n{content}\n---"


def _result_turn(results: Sequence[str], question: str) -> Turn:
    """Results in plain rulers, and the question once more. Tags around the results, or nothing after them, and a small model goes on copying."""
    asked = question.strip().partition("\n\n")[0]
    # A program that is said again is written again.
    again = [f"Question: {asked}"] if 0 < len(asked) <= MAX_REPEATED_QUESTION and "```" not in asked else []
    return "user", "\n\n".join([*results, *again])


def _with_system(turns: list[Turn], text: str) -> list[Turn]:
    """The text after the instructions, or as the only instructions."""
    if turns and turns[0][0] == "system":
        return [("system", f"{turns[0][1]}\n\n{text}"), *turns[1:]]
    return [("system", text), *turns]


def _system_in_user(turns: list[Turn]) -> list[Turn]:
    """For templates without a system role: its text begins the first turn of the user."""
    system = "\n\n".join(text for role, text in turns if role == "system")
    others = [turn for turn in turns if turn[0] != "system"]
    if not system:
        return others
    if others and others[0][0] == "user":
        return [("user", f"{system}\n\n{others[0][1]}"), *others[1:]]
    return [("user", system), *others]


def _alternating(turns: list[Turn]) -> list[Turn]:
    """For templates that insist on user, assistant, user, ...: what follows its own role is joined to it, and an assistant never begins."""
    joined: list[Turn] = []
    for role, text in turns:
        if joined and joined[-1][0] == role:
            joined[-1] = (role, f"{joined[-1][1]}\n\n{text}")
        else:
            joined.append((role, text))
    first = next((i for i, (role, _) in enumerate(joined) if role != "system"), len(joined))
    if first < len(joined) and joined[first][0] == "assistant":
        joined.insert(first, ("user", ""))
    return joined
