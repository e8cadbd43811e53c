"""Models whose template knows tools: tools, calls and results go through the template, each as it wants them. Knows no tokens.

Templates agree on what a chat is and disagree on its details: whether arguments are an object or text, how many calls a turn may have, whether there is a
system role. Which of the forms a template takes without losing anything is tried out once, with a chat of telling words.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from offline_assistants.engine.chat_formats.answer_grammar import answer_grammar
from offline_assistants.engine.chat_formats.answer_parser import AnswerParser, CallReader, arguments_json, parameters_of
from offline_assistants.engine.chat_formats.generic import content_of, tool_lines
from offline_assistants.engine.chat_formats.reasoning import ends_in_thought, has_thought, variables_of
from offline_assistants.engine.chat_formats.syntax import CallSyntax, Syntax, write_calls
from offline_assistants.engine.chat_formats.template import ChatTemplate, Written, plain
from offline_assistants.errors import RequestError
from offline_assistants.ports import Chat, ChatMessage, ChatToolCall, ToolSpec

Message = dict[str, Any]

_PROBE_TOOLS = tuple(
    ToolSpec(name, f"telling{name}", {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]})
    for name in ("firsttool", "secondtool")
)
_PROBE_CALLS = (ChatToolCall("probecal1", "firsttool", '{"place": "firstplace"}'), ChatToolCall("probecal2", "secondtool", '{"place": "secondplace"}'))
_PROBE_RESULTS = (ChatMessage("tool", "firstresult", tool_call_id="probecal1"), ChatMessage("tool", "secondresult", tool_call_id="probecal2"))
_PROBE = (
    ChatMessage("system", "tellingsystem"),
    ChatMessage("user", "tellingquestion"),
    ChatMessage("assistant", "", _PROBE_CALLS),
    *_PROBE_RESULTS,
    ChatMessage("assistant", "tellinganswer"),
    ChatMessage("user", "secondquestion"),
)
_PROBE_WITH_TEXT = (*_PROBE[:2], ChatMessage("assistant", "tellingtext", _PROBE_CALLS), *_PROBE[3:])
_TELLING = ("tellingsystem", "tellingquestion", "firstplace", "secondplace", "firstresult", "secondresult", "tellinganswer", "secondquestion")
_TELLING_TOOLS = ("tellingfirsttool", "tellingsecondtool")


@dataclass(frozen=True, slots=True)
class Shape:
    """How a template wants a chat. The first of everything is what most templates take, and what is tried first."""

    text_of_calls: Literal["with them", "before them", "left out"] = "with them"
    has_text_arguments: bool = False
    has_no_empty_text: bool = False
    """A turn without text has None in place of "" for it."""
    is_one_by_one: bool = False
    """A call and its result, the next call and its result."""
    is_system_in_user: bool = False
    has_described_arguments: bool = False
    """Each argument of a tool needs a description, be it an empty one."""
    are_calls_written: bool = False
    """The template has no words for calls: they are part of the text."""
    are_results_said: bool = False
    """Nor for results: the user says them."""
    are_tools_told: bool = False
    """Nor for tools: they are described in the system text."""

    @property
    def notes(self) -> list[str]:
        """What is done for the template's sake that changes what a model sees."""
        said = {
            "calls one after another": self.is_one_by_one,
            "system text in the first message": self.is_system_in_user,
            "calls written into the text": self.are_calls_written,
            "results said by the user": self.are_results_said,
            "tools described in the system text": self.are_tools_told,
            "text beside calls left out": self.text_of_calls == "left out",
        }
        return [note for note, holds in said.items() if holds]


def _shapes() -> Iterator[Shape]:
    """All shapes; those that change least come first."""
    no_yes = (False, True)
    for told, results, calls, system, described in itertools.product(no_yes, repeat=5):
        for single, empty, text in itertools.product(no_yes, repeat=3):
            yield Shape("with them", text, empty, single, system, described, calls, results, told)


class NativeFormat:
    def __init__(self, name: str, template: ChatTemplate, syntax: Syntax, calls: CallSyntax) -> None:
        """Raises RequestError when there is no form in which the template keeps everything."""
        self.name = name
        self._template = template
        self._syntax = syntax
        self._calls = calls
        self.shape = self._shape_for_text(self._found_shape())

    # ── Prompts ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def render(self, chat: Chat) -> str:
        """The prompt, ending where the assistant's next words begin. Raises RequestError when the template refuses the chat."""
        return self._render(chat, self.shape)

    def _render(self, chat: Chat, shape: Shape) -> str:
        tools = {tool.name: tool for tool in chat.tools}
        messages = _messages(chat, shape, tools, self._calls)
        if chat.tools and shape.are_tools_told:
            messages = _with_system(messages, plain(_tool_text(chat.tools, self._calls)))
        if shape.is_system_in_user:
            messages = _system_in_user(messages)
        told = [] if shape.are_tools_told else [_tool(tool, shape) for tool in chat.tools]
        variables = variables_of(self._template.source, chat.reasoning_effort)
        return self._template.render_messages(messages or [{"role": "user", "content": ""}], tools=told, variables=variables)

    def _found_shape(self) -> Shape:
        for shape in _shapes():
            if self._keeps(_PROBE, shape, _TELLING):
                return shape
        raise RequestError("The chat template loses part of a chat with tools, whatever the form of it.")

    def _shape_for_text(self, shape: Shape) -> Shape:
        for place in ("with them", "before them"):
            found = _replaced(shape, place)
            if self._keeps(_PROBE_WITH_TEXT, found, ("tellingtext", *_TELLING)):
                return found
        return _replaced(shape, "left out")

    def _keeps(self, messages: Sequence[ChatMessage], shape: Shape, words: Sequence[str]) -> bool:
        try:
            prompt = self._render(Chat(tuple(messages), _PROBE_TOOLS), shape)
        except RequestError:
            return False
        if not all(word in prompt for word in (*words, *_TELLING_TOOLS)):
            return False
        order = [prompt.rfind(word) for word in ("firstplace", "firstresult", "secondquestion")]
        return order == sorted(order)

    # ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def grammar(self, chat: Chat, prompt: str, special_words: Mapping[str, int]) -> str | None:
        """What may follow the prompt, in llguidance's form of Lark; None when any text may. Raises RequestError for what cannot be honoured."""
        thoughts = None if has_thought(prompt, self._syntax.thoughts) else self._syntax.thoughts
        return answer_grammar(chat, self._syntax, special_words, thinks=thoughts, is_thinking=ends_in_thought(prompt, thoughts))

    def parser(self, chat: Chat, prompt: str) -> AnswerParser:
        """Reads what follows the prompt."""
        thoughts = self._syntax.thoughts
        return AnswerParser(thoughts, CallReader(self._syntax, chat.tools), is_thinking=ends_in_thought(prompt, thoughts))

    @property
    def words(self) -> list[str]:
        """Words of the syntax, which the parser has to see even if they are control tokens."""
        return self._syntax.words


def _replaced(shape: Shape, place: Literal["with them", "before them", "left out"]) -> Shape:
    words = {name: getattr(shape, name) for name in Shape.__dataclass_fields__ if name != "text_of_calls"}
    return Shape(place, **words)


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _messages(chat: Chat, shape: Shape, tools: Mapping[str, ToolSpec], syntax: CallSyntax) -> list[Message]:
    pictures = itertools.count()
    names: dict[str, str] = {}
    messages: list[Message] = []
    for message in _one_by_one(chat.messages) if shape.is_one_by_one else chat.messages:
        content = content_of(message, pictures)
        match message.role:
            case "assistant" if message.tool_calls:
                names |= {call.call_id: call.name for call in message.tool_calls}
                messages += _calling(content, message.tool_calls, shape, tools, syntax)
            case "tool":
                messages.append(_result(content, message.tool_call_id or "", names, shape))
            case _:
                messages.append({"role": message.role, "content": content})
    return messages


def _calling(text: str, calls: Sequence[ChatToolCall], shape: Shape, tools: Mapping[str, ToolSpec], syntax: CallSyntax) -> list[Message]:
    written = [(plain(call.name), plain(_arguments(call, tools.get(call.name)))) for call in calls]
    if shape.are_calls_written:
        return [{"role": "assistant", "content": text + write_calls(syntax, written)}]
    empty = None if shape.has_no_empty_text else ""
    before: list[Message] = [{"role": "assistant", "content": text}] if text and shape.text_of_calls == "before them" else []
    spoken = text if text and shape.text_of_calls == "with them" else empty
    listed = [
        {"id": call.call_id, "type": "function", "function": {"name": name, "arguments": arguments if shape.has_text_arguments else Written(arguments)}}
        for call, (name, arguments) in zip(calls, written, strict=True)
    ]
    return [*before, {"role": "assistant", "content": spoken, "tool_calls": listed}]


def _result(content: str, call_id: str, names: Mapping[str, str], shape: Shape) -> Message:
    name = plain(names.get(call_id, "the tool"))
    if shape.are_results_said:
        return {"role": "user", "content": f"Result of {name}:\n{content}"}
    return {"role": "tool", "tool_call_id": call_id, "name": name, "content": content}


def _arguments(call: ChatToolCall, tool: ToolSpec | None) -> str:
    """A past call's arguments as a JSON object, whatever a client made of them."""
    text = arguments_json(call.arguments, tool) if tool else call.arguments
    try:
        if isinstance(json.loads(text), dict):
            return text
    except ValueError:
        pass
    return json.dumps({"input": text}, ensure_ascii=False) if text.strip() else "{}"


def _one_by_one(messages: Sequence[ChatMessage]) -> Iterator[ChatMessage]:
    """Each call directly before its result."""
    results = {message.tool_call_id: message for message in messages if message.role == "tool"}
    told: set[str | None] = set()
    for message in messages:
        if message.role == "tool":
            if message.tool_call_id not in told:
                yield message
            continue
        if len(message.tool_calls) < 2:
            yield message
            continue
        for i, call in enumerate(message.tool_calls):
            yield ChatMessage("assistant", message.content if i == 0 else "", (call,), pictures=message.pictures if i == 0 else ())
            if call.call_id in results:
                told.add(call.call_id)
                yield results[call.call_id]


def _with_system(messages: list[Message], text: str) -> list[Message]:
    if messages and messages[0]["role"] == "system":
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _system_in_user(messages: list[Message]) -> list[Message]:
    system = "\n\n".join(str(message["content"]) for message in messages if message["role"] == "system")
    others = [message for message in messages if message["role"] != "system"]
    if not system:
        return others
    if others and others[0]["role"] == "user":
        return [{**others[0], "content": f"{system}\n\n{others[0]['content']}"}, *others[1:]]
    return [{"role": "user", "content": system}, *others]


# ── Tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _tool(tool: ToolSpec, shape: Shape) -> Message:
    parameters: dict[str, Any] = dict(parameters_of(tool)) if tool.syntax == "code" else {"type": "object", "properties": {}, **tool.parameters}
    if shape.has_described_arguments:
        properties = cast("dict[str, dict[str, Any]]", parameters["properties"])
        parameters = {**parameters, "properties": {name: {"description": "", **each} for name, each in properties.items()}}
    return {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": parameters}}


def _tool_text(tools: Sequence[ToolSpec], syntax: CallSyntax) -> str:
    example = write_calls(syntax, [("TOOL_NAME", '{"ARGUMENT": "VALUE"}')])
    return "\n".join([*tool_lines(tools), "", "To call a tool, answer with:", example])
