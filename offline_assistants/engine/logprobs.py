"""How likely the model itself found a token. Knows nothing of how the token was chosen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from offline_assistants.ports import TokenLogprob

IMPOSSIBLE = -9999.0
"""Stands for minus infinity, which JSON does not know; the hosted API says the same."""


def token_logprob(logits: NDArray[np.float32], token: int, *, num_top: int, name: Callable[[int], bytes]) -> TokenLogprob:
    """Of `token`, and of the `num_top` likeliest in its place. `logits`: shape (n_vocab,). `name`: a token's bytes."""
    peak = float(np.max(logits))
    log_total = peak + float(np.log(np.sum(np.exp(logits.astype(np.float64) - peak))))
    top = _likeliest(logits, num_top)
    return TokenLogprob(name(token), _finite(logits[token] - log_total), tuple((name(each), _finite(logits[each] - log_total)) for each in top))


def _likeliest(logits: NDArray[np.float32], num_top: int) -> list[int]:
    if num_top <= 0:
        return []
    num_top = min(num_top, logits.size)
    candidates = np.argpartition(-logits, num_top - 1)[:num_top]
    order = np.argsort(-logits[candidates], kind="stable")
    return [int(token) for token in candidates[order]]


def _finite(logprob: float) -> float:
    return max(float(logprob), IMPOSSIBLE)
