"""How many tokens a request took, over all of its generations."""

from __future__ import annotations

from collections.abc import Iterable

from offline_assistants.domain.chat_completions import CompletionDetails, CompletionUsage, PromptDetails
from offline_assistants.ports import Finished


def usage_of(groups: Iterable[list[Finished]]) -> CompletionUsage:
    """Each group has one prompt, which counts once, as the first of the group found it in the cache."""
    prompt = cached = completion = reasoning = 0
    for group in groups:
        prompt += group[0].num_prompt_tokens if group else 0
        cached += group[0].num_cached_tokens if group else 0
        completion += sum(each.num_completion_tokens for each in group)
        reasoning += sum(each.num_reasoning_tokens for each in group)
    return CompletionUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=PromptDetails(cached_tokens=cached),
        completion_tokens_details=CompletionDetails(reasoning_tokens=reasoning),
    )
