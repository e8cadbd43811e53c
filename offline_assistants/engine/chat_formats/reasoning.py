"""Models that think before they answer: which words their templates put around thoughts, and how a template is asked for more or fewer of them."""

from __future__ import annotations

import re
from typing import Any

from offline_assistants.engine.chat_formats.syntax import Thoughts

_THOUGHTS = (
    Thoughts("<seed:think>", "</seed:think>"),
    Thoughts("<mm:think>", "</mm:think>"),
    Thoughts("[THINK]", "[/THINK]"),
    Thoughts("<|START_THINKING|>", "<|END_THINKING|>"),
    Thoughts("<|inner_prefix|>", "<|inner_suffix|>"),
    Thoughts("<think:opensource>", "</think:opensource>"),
    Thoughts("<|channel>thought\n", "<channel|>"),
    Thoughts("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]"),
    Thoughts("<think>", "</think>"),
)
_OFF = ("none", "minimal")


def thoughts_of(source: str) -> Thoughts | None:
    """The words around thoughts in a template's text."""
    if "hy_Assistant" in source:
        return Thoughts("<think:opensource>", "</think:opensource>") if ":opensource" in source else None
    written = source.replace("\\n", "\n")
    return next((each for each in _THOUGHTS if each.opening in written or (each.closing in written and each.opening == "<think>")), None)


def ends_in_thought(prompt: str, thoughts: Thoughts | None) -> bool:
    """The prompt opens a thought and leaves it open."""
    return thoughts is not None and bool(thoughts.opening) and prompt.rstrip().endswith(thoughts.opening.rstrip())


def has_thought(prompt: str, thoughts: Thoughts | None) -> bool:
    """The prompt ends behind a thought, often an empty one: there is no more to think."""
    return thoughts is not None and prompt.rstrip().endswith((thoughts.closing + thoughts.bridge).rstrip())


def variables_of(source: str, effort: str | None) -> dict[str, Any]:
    """The template's variables that say how long to think; none when nobody asked, so that the template's own defaults hold."""
    if effort is None:
        return {}
    is_on = effort not in _OFF
    values: dict[str, Any] = {
        "enable_thinking": is_on,
        "thinking": is_on,
        "thinking_mode": ("thinking" if "'thinking'" in source or '"thinking"' in source else "enabled") if is_on else "disabled",
        "reasoning_effort": {"none": "low", "minimal": "low", "xhigh": "high"}.get(effort, effort) if "<|channel|>" in source else effort,
    }
    return {name: value for name, value in values.items() if re.search(rf"\b{name}\b", source)}
