"""Qwen3-Coder, Qwen 3.5, Nemotron 3, Step 3.5 and Seed-OSS: a function and its parameters as tags, with = between tag and name."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, NAME, CallSyntax, Syntax
from offline_assistants.engine.chat_formats.tagged_arguments import TaggedArguments


def functions_in_xml(source: str) -> Syntax | None:
    """For templates with <function=...> and <parameter=...>."""
    if "<parameter=" not in source or "<function=" not in source:
        return None
    tag = "seed:tool_call" if "<seed:tool_call>" in source else "tool_call"
    arguments = TaggedArguments("<parameter=", ">", "</parameter>\n") if tag != "tool_call" else TaggedArguments("<parameter=", ">\n", "\n</parameter>\n")
    call = ("\n<function=", NAME, ">\n", ARGUMENTS, f"</function>\n</{tag}>")
    return Syntax(CallSyntax(f"<{tag}>", call, arguments, between=f"\n<{tag}>"))
