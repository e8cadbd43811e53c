"""What a model will take of the memory when it is run with certain options."""

from __future__ import annotations

from offline_assistants.domain.model_memory import MemoryNeed, memory_need
from offline_assistants.domain.models import ModelFile
from offline_assistants.engine.options import KV_VALUE_BYTES, EngineOptions


def need_of(file: ModelFile, options: EngineOptions) -> MemoryNeed | None:
    """None when the file does not tell."""
    if file.shape is None or file.problem is not None:
        return None
    context = context_of(file, options)
    return memory_need(
        file.shape,
        kv_tokens=max(options.max_kv_tokens or 2 * context, context),
        batch_tokens=options.max_step_tokens + options.max_running,
        num_outputs=options.max_running,
        kv_value_bytes=KV_VALUE_BYTES[options.kv_cache_type],
        more_weights=file.projector.size_bytes if file.projector else 0,
    )


def context_of(file: ModelFile, options: EngineOptions) -> int:
    """The context that it is loaded with."""
    return min(file.context_tokens or options.max_context_tokens, options.max_context_tokens)
