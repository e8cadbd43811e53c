"""Hermes, Qwen 2.5 and 3, Granite 4, SmolLM3, and many who took it over: a JSON object between two tags."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.json_arguments import JsonArguments
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, NAME, CallSyntax, Syntax


def hermes(source: str) -> Syntax | None:
    """For templates that describe <tool_call> to the model, in no other form than JSON."""
    if "<tool_call>" not in source:
        return None
    call = ('\n{"name": "', NAME, '", "arguments": ', ARGUMENTS, "}\n</tool_call>")
    return Syntax(CallSyntax("<tool_call>", call, JsonArguments(), between="\n<tool_call>"))
