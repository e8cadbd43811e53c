"""The grammar of answers in the generic format. Free text stays free; a tool call that has begun can only become a valid one."""

from __future__ import annotations

import json
from collections.abc import Sequence

from offline_assistants.engine.chat_formats.answer_grammar import callable_tools
from offline_assistants.engine.chat_formats.schemas import arguments_schema, closed, json_rule
from offline_assistants.engine.chat_formats.tool_syntax import CLOSE, MAX_CALLS, OPEN, call_head, call_tail
from offline_assistants.errors import RequestError
from offline_assistants.ports import Chat, ResponseFormat, ToolSpec

_ANYTHING = "/(?s:.*)/"
_WORDS = f"TEXT: {_ANYTHING} & ~/(?s:.*)<tool(?s:.*)/"
"""Text without anything that looks like a tag of ours: small models make up <tool_result>, <tooled_call> and whole calls where none may be."""


def lark_for(chat: Chat) -> str | None:
    """The grammar of the answer to this chat, in llguidance's form of Lark; None when any text will do.

    Raises RequestError for a tool choice that names no tool.
    """
    if not chat.tools:
        if chat.tool_choice not in {"auto", "none"}:
            raise RequestError("tool_choice asks for a tool, and there are no tools.", param="tool_choice")
        answer = _answer(chat.response_format)
        return f"start: {answer}" if answer else None
    answer = _answer(chat.response_format) or "TEXT"
    if chat.tool_choice == "none":
        return f"start: {answer}\n{_WORDS} & ~/\\s*<(?s:.*)/"  # nor with a tag of its own making, by which they go on to write a call all the same
    return _with_calls(chat, answer)


def _with_calls(chat: Chat, answer: str) -> str:
    tools = callable_tools(chat)
    is_free = chat.tool_choice == "auto"
    is_many = chat.parallel_tool_calls and not chat.tool_choice.startswith("=")
    more = f' ("\\n{OPEN}" call){{0,{MAX_CALLS - 1}}}' if is_many else ""
    rules = [
        f"start: {answer} | opening call{more}" if is_free else f'start: "{OPEN}" call{more}',
        "opening[lazy]: TEXT " + json.dumps(OPEN) if is_free else "",
        _WORDS if is_free else "",
        "call: " + " | ".join(f"call_{i}" for i in range(len(tools))),
        *(rule for i, tool in enumerate(tools) for rule in _call_rules(i, tool, chat.tools)),
    ]
    return "\n".join(rule for rule in rules if rule)


def _call_rules(i: int, tool: ToolSpec, tools: Sequence[ToolSpec]) -> list[str]:
    head, tail = json.dumps(call_head(tool, tools)), call_tail(tool)
    if tool.syntax == "json":
        return [f"call_{i}: {head} {json_rule(arguments_schema(tool.parameters))} {json.dumps(tail)}"]
    # The program ends at the first line that is a fence. A longer end would let a model that forgets the rest of it go on for ever.
    end = "\n" + CLOSE
    return [f"call_{i}: {head} program_{i} {json.dumps(end)}", f"program_{i}[lazy]: {_ANYTHING} {json.dumps(tail.removesuffix(end))}"]


def _answer(response_format: ResponseFormat) -> str | None:
    match response_format.type:
        case "text":
            return None
        case "json_object":
            return json_rule({"type": "object"})
        case "json_schema":
            return json_rule(closed(response_format.schema or {"type": "object"}))
