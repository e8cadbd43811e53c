"""MiniCPM 5: a function and its parameters as tags with attributes, and CDATA around what would break them."""

from __future__ import annotations

from offline_assistants.engine.chat_formats.syntax import ARGUMENTS, NAME, CallSyntax, Syntax
from offline_assistants.engine.chat_formats.tagged_arguments import TaggedArguments


def minicpm(source: str) -> Syntax | None:
    """For templates with <param name=...>."""
    if '<param name="' not in source:
        return None
    arguments = TaggedArguments('<param name="', '">', "</param>", wrap=("<![CDATA[", "]]>"))
    opening = '<function name="'
    return Syntax(CallSyntax(opening, (NAME, '">', ARGUMENTS, "</function>"), arguments, between=f"\n{opening}"))
