"""What a model takes of the machine's memory, reckoned from its header before it is loaded. Knows nothing of files or of what is free."""

from __future__ import annotations

from dataclasses import dataclass

PROCESS_BYTES = 150_000_000
"""The worker process itself: Python, numpy, llama.cpp, the vocabulary in three forms."""
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What of a model decides how much memory it takes."""

    weights_bytes: int
    kv_values_per_token: int = 0
    """Keys and values of all layers together."""
    num_embedding: int = 0
    num_feed_forward: int = 0
    num_vocab: int = 0


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """In bytes."""

    weights: int
    context: int
    buffers: int

    @property
    def total(self) -> int:
        return self.weights + self.context + self.buffers


def memory_need(shape: ModelShape, *, kv_tokens: int, batch_tokens: int, num_outputs: int, kv_value_bytes: float, more_weights: int = 0) -> MemoryNeed:
    """Of a model whose KV cache holds `kv_tokens`, with batches of so many tokens, and the logits of so many of them.

    `kv_value_bytes`: of a number in the KV cache; `more_weights`: of its projector.

    The buffers are a rule of thumb: the widest activations of a batch, a few times over, and the logits.
    """
    wide = 8 * shape.num_embedding + 3 * shape.num_feed_forward
    buffers = (batch_tokens * wide + num_outputs * shape.num_vocab) * _FLOAT_BYTES
    return MemoryNeed(shape.weights_bytes + more_weights, int(kv_tokens * shape.kv_values_per_token * kv_value_bytes), PROCESS_BYTES + buffers)
