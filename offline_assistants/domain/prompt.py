"""Which turns of a thread fit into a prompt. Knows nothing of templates or tokenizers: counts come from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ANSWER_SHARE = 4
"""A quarter of the context, at most MAX_ANSWER_TOKENS, is kept for the answer."""
MAX_ANSWER_TOKENS = 1024
MAX_PASSAGE_TOKENS = 16_000


@dataclass(frozen=True, slots=True)
class Counted:
    """What `fit` decides on: one turn, or one whole tool exchange, which is never cut in two."""

    num_tokens: int
    is_required: bool = False
    """The newest user message, and the newest tool exchange of the present run."""


def answer_reserve(context_tokens: int) -> int:
    """Tokens that stay free for the answer."""
    return min(MAX_ANSWER_TOKENS, context_tokens // ANSWER_SHARE)


def fit(turns: Sequence[Counted], budget: int, *, has_opening: bool = True) -> list[int] | None:
    """Indexes of the turns to keep, in order; None when even the required ones are too many.

    Drops from the middle: required turns first, then the opening turn (it often holds the task; with `has_opening` it is the first of them), then from
    the newest back until one does not fit.
    """
    left = budget - sum(turn.num_tokens for turn in turns if turn.is_required)
    if left < 0:
        return None
    kept = {index for index, turn in enumerate(turns) if turn.is_required}
    optional = [index for index in range(len(turns)) if index not in kept]
    if has_opening and optional and optional[0] == 0 and turns[0].num_tokens <= left // 4 and sum(turns[index].num_tokens for index in optional) > left:
        kept.add(optional[0])
        left -= turns[optional.pop(0)].num_tokens
    for index in reversed(optional):
        if turns[index].num_tokens > left:
            break
        kept.add(index)
        left -= turns[index].num_tokens
    return sorted(kept)


def passage_budget(context_tokens: int, used_tokens: int) -> int:
    """Tokens for retrieved passages: half of what instructions, the newest messages and the answer leave, at most MAX_PASSAGE_TOKENS."""
    return max(0, min(MAX_PASSAGE_TOKENS, (context_tokens - used_tokens - answer_reserve(context_tokens)) // 2))
