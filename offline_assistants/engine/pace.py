"""How many prompt tokens a step may take while answers are streaming. Knows durations, and neither the model nor the clock.

A reader notices gaps, not averages: a step with a piece of a prompt in it may take a few times as long as one without, and never longer than a quarter of a
second. What a token costs is learnt from the steps themselves, so it follows the model, the threads, the length of what is in the cache, and whatever else the
machine is doing.
"""

from __future__ import annotations

MAX_STEP_S = 0.25
MAX_STRETCH = 6.0
"""A step with a piece of a prompt against one without."""
MIN_PROMPT_TOKENS = 2
"""Fewer say of one of them at most that it costs no more. Deep in a long prompt a token costs nearly as much as a step, so there are not many in one."""
_FIRST_PROMPT_TOKENS = 32
_WEIGHT = 0.3
"""Of the newest observation, against all that were before."""


class Pace:
    """Feed it with `observe` after each step; `num_prompt_tokens` is what the next may take beside answers."""

    def __init__(self, *, max_step_s: float = MAX_STEP_S) -> None:
        self._max_step_s = max_step_s
        self._decode_s: float | None = None
        """A step that only decodes."""
        self._prompt_token_s: float | None = None
        """One prompt token more in a step."""

    def observe(self, *, num_decoding: int, num_prompt_tokens: int, duration_s: float) -> None:
        """A step with so many sequences that decode and so many tokens of prompts took so long."""
        if not num_prompt_tokens:
            self._decode_s = _mixed(self._decode_s, duration_s)
            return
        rest_s = duration_s - (self._decode_s or 0.0 if num_decoding else 0.0)
        # However the estimates stand to each other, a token is never free.
        token_s = max(rest_s, 0.1 * duration_s) / num_prompt_tokens
        # A machine that was slow for a moment has small steps afterwards, and they have to be able to tell that it is over.
        if num_prompt_tokens >= MIN_PROMPT_TOKENS or (self._prompt_token_s is not None and token_s < self._prompt_token_s):
            self._prompt_token_s = _mixed(self._prompt_token_s, token_s)

    @property
    def num_prompt_tokens(self) -> int:
        """At least one, whatever happens: a prompt always moves."""
        if self._prompt_token_s is None:
            return _FIRST_PROMPT_TOKENS
        return chunk_size(decode_s=self._decode_s or 0.0, prompt_token_s=self._prompt_token_s, max_step_s=self._max_step_s)


def chunk_size(*, decode_s: float, prompt_token_s: float, max_step_s: float) -> int:
    """The prompt tokens of a step that shall be neither much slower than one without them, nor slower than `max_step_s`."""
    step_s = min(max_step_s, MAX_STRETCH * decode_s) if decode_s else max_step_s
    wanted = int(max(0.0, step_s - decode_s) / prompt_token_s) if prompt_token_s > 0 else MIN_PROMPT_TOKENS
    # On a slow machine the smallest useful chunk may take too long; the limit in seconds then goes before use.
    least = max(1, min(MIN_PROMPT_TOKENS, int(max_step_s / prompt_token_s))) if prompt_token_s > 0 else MIN_PROMPT_TOKENS
    return max(least, wanted)


def _mixed(known: float | None, new: float) -> float:
    return new if known is None else known + _WEIGHT * (new - known)
