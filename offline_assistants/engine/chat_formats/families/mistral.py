"""Mistral, from Nemo to Ministral 3 and Devstral: a list of JSON objects behind [TOOL_CALLS], or a name and its arguments behind each."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.json_arguments import JsonArguments
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, ID, NAME, CallSyntax, Maybe, Syntax

_MARK = "[TOOL_CALLS]"


def mistral(source: str) -> Syntax | None:
    """For templates with [TOOL_CALLS]."""
    if _MARK not in source:
        return None
    if "[ARGS]" in source:
        call = (NAME, Maybe(("[CALL_ID]", ID)), "[ARGS]", ARGUMENTS)
        return Syntax(CallSyntax(_MARK, call, JsonArguments(), between=_MARK))
    call = ('{"name": "', NAME, '", "arguments": ', ARGUMENTS, Maybe((', "id": "', ID, '"')), "}")
    return Syntax(CallSyntax(f"{_MARK}[", call, JsonArguments(), between=", ", closing="]", also_opening=(f"{_MARK} [",)))
