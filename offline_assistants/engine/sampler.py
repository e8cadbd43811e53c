"""From logits to one token id. Knows nothing of text; a grammar's mask comes in as an array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offline_assistants.errors import EngineError
from offline_assistants.ports import SamplingParams

_BLOCK = 256
_MIN_TEMPERATURE = 1e-6
"""Colder is the same, and no number of single precision."""


class Sampler:
    """Draws the tokens of one sequence. Two samplers with the same parameters and seed draw the same from the same logits."""

    def __init__(self, params: SamplingParams, random: np.random.Generator) -> None:
        """`random` is only drawn from when the temperature is above 0."""
        self._temperature = params.temperature
        self._top_p = params.top_p
        self._random = random
        self._biased = np.array([token for token, _ in params.logit_bias], dtype=np.intp)
        self._bias = np.array([bias for _, bias in params.logit_bias], dtype=np.float32)
        self._frequency_penalty = params.frequency_penalty
        self._presence_penalty = params.presence_penalty
        self._counts: dict[int, int] = {}
        """How often the answer has each token; empty where there are no penalties."""

    def count(self, token: int) -> None:
        """The answer has one more of this token, sampled or not."""
        if self._frequency_penalty or self._presence_penalty:
            self._counts[token] = self._counts.get(token, 0) + 1

    def sample(self, logits: NDArray[np.float32], allowed: NDArray[np.bool_] | None = None) -> int:
        """A token id. `logits` and `allowed`: shape (n_vocab,). Raises EngineError when the model's numbers are unusable."""
        logits = self._adjusted(logits)
        if allowed is not None:
            logits = np.where(allowed, logits, np.float32(-np.inf))
        best = int(np.argmax(logits))
        if not np.isfinite(logits[best]):
            raise EngineError("The model computed no usable token. Its file may be damaged; a different quantization may help.")
        if self._temperature <= 0 or self._top_p <= 0:
            return best
        # Single precision is a few times faster here, and finer than the logits themselves are.
        return self._draw(np.exp((logits - logits[best]) * np.float32(1 / max(self._temperature, _MIN_TEMPERATURE))))

    def _adjusted(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The formula is the hosted API's: logit + bias - count * frequency_penalty - (count > 0) * presence_penalty."""
        if not self._biased.size and not self._counts:
            return logits
        logits = logits.copy()
        logits[self._biased] += self._bias
        if not self._counts:
            return logits
        tokens = np.fromiter(self._counts, dtype=np.intp, count=len(self._counts))
        counts = np.fromiter(self._counts.values(), dtype=np.float32, count=len(self._counts))
        logits[tokens] -= counts * np.float32(self._frequency_penalty) + np.float32(self._presence_penalty)
        return logits

    def _draw(self, weights: NDArray[np.float32]) -> int:
        if self._top_p >= 1:
            return self._pick(weights)
        order = _nucleus(weights, self._top_p)
        return int(order[self._pick(weights[order])])

    def _pick(self, weights: NDArray[np.float32]) -> int:
        """An index, drawn in proportion to the weights. Sums by blocks, and adds up one by one only in the block that is hit."""
        blocks = np.cumsum(np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK), dtype=np.float64))
        place = self._random.random() * float(blocks[-1])
        number = int(blocks.searchsorted(place, side="right"))
        block = weights[number * _BLOCK : (number + 1) * _BLOCK]
        within = place - (float(blocks[number - 1]) if number else 0.0)
        index = int(np.cumsum(block, dtype=np.float64).searchsorted(within, side="right"))
        # The two sums may differ in their last digit; what has no weight is never drawn.
        return number * _BLOCK + min(index, int(np.flatnonzero(block)[-1]))


def _nucleus(weights: NDArray[np.float32], top_p: float) -> NDArray[np.intp]:
    """The likeliest tokens that together have at least `top_p` of the weight, likeliest first."""
    total = float(weights.sum(dtype=np.float64))
    # All that weigh less than this have together less than what may be left out. It spares sorting the whole vocabulary.
    likely = np.flatnonzero(weights >= (1 - top_p) * total / len(weights))
    order = likely[np.argsort(-weights[likely], kind="stable")]
    cumulative = np.cumsum(weights[order], dtype=np.float64)
    return order[: int(cumulative.searchsorted(top_p * total)) + 1]
