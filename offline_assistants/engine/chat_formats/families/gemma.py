"""Gemma 4: calls in a dialect of JSON, between control tokens."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.gemma_arguments import GemmaArguments
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, NAME, CallSyntax, Syntax


def gemma(source: str) -> Syntax | None:
    """For templates with <|tool_call>call:."""
    if "<|tool_call>call:" not in source:
        return None
    return Syntax(CallSyntax("<|tool_call>", ("call:", NAME, ARGUMENTS, "<tool_call|>"), GemmaArguments(), between="<|tool_call>"))
