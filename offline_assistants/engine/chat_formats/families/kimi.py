"""Kimi K2 (a section of calls with JSON between control tokens) and K3 (tags made of control tokens)."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.json_arguments import JsonArguments
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, ID, NAME, CallSyntax, Syntax, Thoughts
from offline_assistants.engine.chat_formats.tagged_arguments import TaggedArguments

_TYPES = ("string", "number", "boolean", "object", "array", "null")


def kimi(source: str) -> Syntax | None:
    """For templates with a section of tool calls."""
    if "<|tool_calls_section_begin|>" not in source:
        return None
    call = ("<|tool_call_begin|>functions.", NAME, ":", ID, "<|tool_call_argument_begin|>", ARGUMENTS, "<|tool_call_end|>")
    return Syntax(CallSyntax("<|tool_calls_section_begin|>", call, JsonArguments(), closing="<|tool_calls_section_end|>"))


def kimi_k3(source: str) -> Syntax | None:
    """For templates that open and close tags with control tokens."""
    if "<|open|>" not in source or "xtml" not in source:
        return None
    kinds = (*((name, f'" type="{name}"') for name in _TYPES), ("integer", '" type="number"'))
    arguments = TaggedArguments('<|open|>argument key="', "<|sep|>", "<|close|>argument<|sep|>", kinds=kinds)
    call = ('<|open|>call tool="', NAME, '" index="', ID, '"<|sep|>', ARGUMENTS, "<|close|>call<|sep|>")
    text, end = "<|open|>response<|sep|>", "<|close|>response<|sep|>"
    return Syntax(
        CallSyntax("<|open|>tools<|sep|>", call, arguments, closing="<|close|>tools<|sep|>"),
        Thoughts("<|open|>think<|sep|>", "<|close|>think<|sep|>", bridge=""),
        before_text=text,
        after_text=end,
        silent=("<|close|>message<|sep|>", "<|end_of_msg|>"),
    )
