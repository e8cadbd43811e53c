"""LFM2: a list of calls as Python writes them, between control tokens."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.python_arguments import PythonArguments
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, NAME, CallSyntax, Syntax


def lfm(source: str) -> Syntax | None:
    """For templates with a list of tools in the system text, as Liquid writes it."""
    if "List of tools: " not in source:
        return None
    return Syntax(CallSyntax("<|tool_call_start|>[", (NAME, "(", ARGUMENTS, ")"), PythonArguments(), between=", ", closing="]<|tool_call_end|>"))
