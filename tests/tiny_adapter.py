"""A LoRA adapter with random weights for the starter model: it makes no sense, and changes what the model writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.tiny_projector import STARTER_WIDTH, gguf_of

RANK = 4
NUM_BLOCKS = 30


def write_adapter(
    path: Path,
    *,
    width: int = STARTER_WIDTH,
    strength: float = 0.1,
    seed: int = 1,
    chat_format: str | None = None,
    is_only_with_tools: bool = False,
) -> Path:
    """Of the attention's queries and outputs. `width`: n_embd of the model that it is for; `chat_format`: what it says that it was trained on."""
    random = np.random.default_rng(seed)
    tensors = {
        f"blk.{block}.{name}.weight.lora_{part}": random.normal(0, strength, (RANK, width) if part == "a" else (width, RANK)).astype(np.float32)
        for block in range(NUM_BLOCKS)
        for name in ("attn_q", "attn_output")
        for part in "ab"
    }
    values = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": float(RANK)}
    if is_only_with_tools:
        values["offline_assistants.only_with_tools"] = True
    if chat_format is not None:
        values["offline_assistants.chat_format"] = chat_format
    path.write_bytes(gguf_of(values, tensors))
    return path
