"""Functionary 3.1 (a tag that names the function) and 3.2 (each part of an answer says whom it is for)."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.json_arguments import JsonArguments
from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, NAME, CallSyntax, Syntax


def functionary(source: str) -> Syntax | None:
    """For templates with >>>all, or <function=... around JSON."""
    if ">>>all" in source or (">>>" in source and "recipient" in source):
        call = (NAME, "\n", ARGUMENTS)
        return Syntax(CallSyntax(">>>", call, JsonArguments(), between=">>>"), before_text=">>>all\n", in_prompt=">>>")
    if "<function=" in source and "<|python_tag|>" in source:
        return Syntax(CallSyntax("<function=", (NAME, ">", ARGUMENTS, "</function>"), JsonArguments(), between="<function="))
    return None
