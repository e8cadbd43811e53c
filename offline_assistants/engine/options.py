"""How a model is run: sizes and threads. Chosen in bootstrap, sent to the worker process as it is."""

from __future__ import annotations

from dataclasses import dataclass

from offline_assistants.engine.pace import MAX_STEP_S


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
