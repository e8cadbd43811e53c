"""What the model may write, as a grammar, and which tokens that leaves at each step: the door to llguidance. Knows nothing of templates or HTTP.

Free text stays free; once a tool call has begun, it can only become a valid call: a known name, and arguments that are valid for the tool's JSON schema.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from offline_assistants.engine.chat_formats.tool_syntax import CLOSE, MAX_CALLS, OPEN, call_head, call_tail
from offline_assistants.errors import EngineError, RequestError
from offline_assistants.ports import Chat, ResponseFormat, ToolSpec

_ANYTHING = "/(?s:.*)/"
_WORDS = f"TEXT: {_ANYTHING} & ~/(?s:.*)<tool[-_.](?s:.*)/"
"""Text without anything that looks like a tag of ours: small models make up <tool_result>, <tool-call> and <tool_call_2> where no call may be."""
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON on one line, spaced as models know it: free whitespace lets a small model write spaces for ever."""


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
        return f"start: {answer}\n{_WORDS}"
    return _with_calls(chat, answer)


def _with_calls(chat: Chat, answer: str) -> str:
    tools = _callable_tools(chat)
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


def _callable_tools(chat: Chat) -> Sequence[ToolSpec]:
    if not chat.tool_choice.startswith("="):
        return chat.tools
    name = chat.tool_choice[1:]
    tools = [tool for tool in chat.tools if tool.name == name]
    if not tools:
        raise RequestError(f"tool_choice names the tool {name!r}, which is not among the tools.", param="tool_choice")
    return tools


def _call_rules(i: int, tool: ToolSpec, tools: Sequence[ToolSpec]) -> list[str]:
    head, tail = json.dumps(call_head(tool, tools)), call_tail(tool)
    if tool.syntax == "json":
        return [f"call_{i}: {head} {_json(_arguments_schema(tool))} {json.dumps(tail)}"]
    # The program ends at the first line that is a fence. A longer end would let a model that forgets the rest of it go on for ever.
    end = "\n" + CLOSE
    return [f"call_{i}: {head} program_{i} {json.dumps(end)}", f"program_{i}[lazy]: {_ANYTHING} {json.dumps(tail.removesuffix(end))}"]


def _answer(response_format: ResponseFormat) -> str | None:
    match response_format.type:
        case "text":
            return None
        case "json_object":
            return _json({"type": "object"})
        case "json_schema":
            return _json(_closed(response_format.schema or {"type": "object"}))


def _arguments_schema(tool: ToolSpec) -> dict[str, Any]:
    return _closed({"type": "object", "properties": {}, **tool.parameters})


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without keys that it only tolerates: what stays is valid for the schema too, and a small model is not led to invent keys."""
    closed = dict(schema)
    if isinstance(properties := schema.get("properties"), dict):
        closed["properties"] = {name: _closed_if_schema(value) for name, value in cast("dict[str, Any]", properties).items()}
        if not closed.keys() & {"additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref"}:
            closed["additionalProperties"] = False
    if "items" in schema:
        closed["items"] = _closed_if_schema(schema["items"])
    return closed


def _closed_if_schema(value: Any) -> Any:
    return _closed(cast("dict[str, Any]", value)) if isinstance(value, dict) else value


def _json(schema: dict[str, Any]) -> str:
    return "%json " + json.dumps({**schema, "x-guidance": _SPACING})


class TokenGrammar:
    """The grammar of one sequence, as far as it has got."""

    def __init__(self, lark: str, tokenizer: LLTokenizer) -> None:
        """Raises RequestError when the grammar cannot be honoured, saying which part of a schema is in the way."""
        self._matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(lark), log_level=0)
        self._num_vocab = tokenizer.vocab_size
        if self._matcher.is_error():
            raise RequestError(f"The JSON schema cannot be enforced: {_first_line(self._matcher.get_error())}")

    @property
    def is_complete(self) -> bool:
        """Nothing can follow."""
        return self._matcher.is_stopped()

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, shape (n_vocab,). Raises EngineError when the grammar has become too complex."""
        mask = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        return np.unpackbits(mask, bitorder="little")[: self._num_vocab].astype(np.bool_)

    def accept(self, token: int) -> None:
        """`token` was chosen."""
        self._matcher.consume_token(token)
        self._check()

    def forced(self) -> list[int]:
        """The tokens that must follow here, as far as the grammar leaves no choice; they are accepted already."""
        if self._matcher.is_stopped():
            return []
        tokens = self._matcher.compute_ff_tokens()
        for token in tokens:
            self.accept(token)
        return tokens

    def _check(self) -> None:
        if self._matcher.is_error():
            raise EngineError(f"The answer could not be held to its schema: {_first_line(self._matcher.get_error())}")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
