"""From logits to one token id. Knows nothing of text; a grammar's mask comes in as an array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offline_assistants.errors import EngineError
from offline_assistants.ports import SamplingParams


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
        return self._draw((logits.astype(np.float64) - float(logits[best])) / self._temperature)

    def _adjusted(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The formula is the hosted API's: logit + bias - count * frequency_penalty - (count > 0) * presence_penalty."""
        if not self._biased.size and not self._counts:
            return logits
        logits = logits.copy()
        logits[self._biased] += self._bias
        tokens = np.fromiter(self._counts, dtype=np.intp, count=len(self._counts))
        counts = np.fromiter(self._counts.values(), dtype=np.float32, count=len(self._counts))
        logits[tokens] -= counts * np.float32(self._frequency_penalty) + np.float32(self._presence_penalty)
        return logits

    def _draw(self, scaled: NDArray[np.float64]) -> int:
        if self._top_p >= 1:
            return self._pick(np.exp(scaled))
        order = _nucleus(np.exp(scaled), self._top_p)
        return int(order[self._pick(np.exp(scaled[order]))])

    def _pick(self, weights: NDArray[np.float64]) -> int:
        """An index, drawn in proportion to the weights."""
        cumulative = np.cumsum(weights, dtype=np.float64)
        return int(cumulative.searchsorted(self._random.random() * float(cumulative[-1]), side="right"))


def _nucleus(weights: NDArray[np.float64], top_p: float) -> NDArray[np.intp]:
    """The likeliest tokens that together have at least `top_p` of the weight, likeliest first."""
    order = np.argsort(-weights, kind="stable")
    cumulative = np.cumsum(weights[order], dtype=np.float64)
    return order[: int(cumulative.searchsorted(top_p * float(cumulative[-1]))) + 1]
