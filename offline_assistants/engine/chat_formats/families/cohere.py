"""Cohere: Command R+ with fenced JSON behind "Action:", later ones with a list of actions between control tokens."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.json_arguments import JsonArguments
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, ID, NAME, CallSyntax, Syntax


def cohere(source: str) -> Syntax | None:
    """For templates with actions, of either kind."""
    if "<|START_ACTION|>" in source:
        call = ('\n    {"tool_call_id": "', ID, '", "tool_name": "', NAME, '", "parameters": ', ARGUMENTS, "}")
        calls = CallSyntax("<|START_ACTION|>[", call, JsonArguments(), between=",", closing="\n]<|END_ACTION|>")
        text = "TEXT" if "<|START_TEXT|>" in source else "RESPONSE"
        return Syntax(calls, before_text=f"<|START_{text}|>", after_text=f"<|END_{text}|>")
    if "Action:" in source and '"tool_name"' in source:
        call = ('\n    {\n        "tool_name": "', NAME, '",\n        "parameters": ', ARGUMENTS, "\n    }")
        return Syntax(CallSyntax("Action:\n```json\n[", call, JsonArguments(), between=",", closing="\n]\n```", also_opening=("Action: ```json\n[",)))
    return None
