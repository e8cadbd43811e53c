"""Llama 3.1 to 3.3: an answer that is nothing but a JSON object is a call, and there is one of them in a turn."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.json_arguments import JsonArguments
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, NAME, CallSyntax, Syntax


def llama(source: str) -> Syntax | None:
    """For templates of Meta's that tell the model of {"name": ..., "parameters": ...}."""
    if "<|start_header_id|>" not in source or '"parameters": ' not in source:
        return None
    opening = '{"name": "'
    also = ('<|python_tag|>{"name": "', '{"type": "function", "name": "')
    return Syntax(CallSyntax(opening, (NAME, '", "parameters": ', ARGUMENTS, "}"), JsonArguments(), is_single=True, is_first=True, also_opening=also))
