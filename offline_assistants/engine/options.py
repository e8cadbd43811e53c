"""How a model is run: sizes, threads, adapters. Chosen in bootstrap, sent to the worker process as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from offline_assistants.engine.pace import MAX_STEP_S
from offline_assistants.errors import OfflineAssistantsError

KVCacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
KV_VALUE_BYTES: Mapping[KVCacheType, float] = MappingProxyType(
    {"f32": 4, "f16": 2, "bf16": 2, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32, "q4_0": 18 / 32}
)
"""Of one number; the q types keep 32 of them in a block."""
FlashAttention = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """A GGUF file that changes a model."""

    model_id: str
    path: Path
    scale: float = 1.0

    @classmethod
    def read(cls, text: str) -> Self:
        """From MODEL=PATH or MODEL=PATH:SCALE. Raises OfflineAssistantsError."""
        model_id, _, rest = text.partition("=")
        path, colon, scale = rest.rpartition(":")
        try:
            adapter = cls(model_id, Path(path), float(scale)) if colon else cls(model_id, Path(rest))
        except ValueError:
            adapter = cls(model_id, Path(rest))  # the colon belongs to the path
        if not model_id or not rest:
            raise OfflineAssistantsError(f"{text!r} names no LoRA adapter. Write MODEL=PATH, or MODEL=PATH:SCALE.")
        return adapter


@dataclass(frozen=True, slots=True)
class EngineOptions:
    max_context_tokens: int = 8192
    """The most that a prompt and its answer may share; a model trained with less gets less."""
    max_kv_tokens: int | None = None
    """Room of the KV cache, shared by all slots. None: twice the context."""
    max_running: int = 8
    """Slots: sequences that are decoded side by side."""
    max_waiting: int = 256
    """Requests beyond the running ones; more are refused with EngineBusy."""
    max_step_tokens: int = 256
    """Prompt tokens in one step while nobody is waiting for the next token of an answer."""
    max_step_s: float = MAX_STEP_S
    """How long a step may take while answers are streaming; prompts then come in as many pieces as that needs."""
    max_picture_tokens: int = 1024
    """What a picture may take of the context, for models that would take more for a larger picture. Others take what they take."""
    num_decode_threads: int | None = None
    """Threads that decode one token. None: half of the cores. Decoding waits for memory, so the others bring little, and much is lost when they are in use."""
    num_prefill_threads: int | None = None
    """Threads for batches of tokens. None: all cores."""
    kv_cache_type: KVCacheType = "f16"
    """How keys and values are kept. The smaller ones need flash attention."""
    num_gpu_layers: int | None = None
    """Layers that a GPU computes, where llama.cpp was built for one. None: as many as there are."""
    flash_attention: FlashAttention = "auto"
    is_mapped: bool = True
    """The file is mapped into memory and read as it is needed; else it is read at once."""
    is_locked: bool = False
    """The weights are never swapped out."""
    prefix_folder: Path | None = None
    """Where prefixes are kept for the next start. None: nowhere."""
    max_prefix_bytes: int = 2 * 2**30
    """Room for them, of all models together."""
    lora_adapters: tuple[LoraAdapter, ...] = ()
    """Of all models; each gets its own."""
