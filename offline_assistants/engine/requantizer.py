"""A model's weights in another form, with an adapter in them: the door to llama.cpp's quantization, and to the package gguf. Knows nothing of why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import llama_cpp
from gguf import GGUFReader
from gguf.quants import dequantize, quantize

from offline_assistants.domain.models import CHAT_FORMAT_KEY
from offline_assistants.errors import EngineError
from offline_assistants.gguf import read_gguf

_llama: Any = llama_cpp
_MOSTLY_Q8_0 = 7
"""llama_ftype."""
_TEXT = 3
"""llama_model_kv_override_type."""


def requantize(source: Path, target: Path, *, num_threads: int, adapter: Path | None = None) -> None:
    """Writes the model of `source`, one GGUF file, in Q8_0; with what `adapter`, a LoRA in GGUF, changes. Raises EngineError; then there is no `target`."""
    params = _llama.llama_model_quantize_default_params()
    params.ftype = _MOSTLY_Q8_0
    params.nthread = num_threads
    params.allow_requantize = True
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    for left in target.parent.glob(f".{target.name}.*"):  # of one that was killed
        left.unlink(missing_ok=True)
    try:
        overrides = _with_format_of(adapter) if adapter else None
        if overrides is not None:
            params.kv_overrides = overrides
        result = _llama.llama_model_quantize(os.fsencode(source), os.fsencode(draft), params)
        if result != 0:
            raise EngineError(f"llama.cpp could not make a copy of {source.name} (code {result}); its reason is above. Is there room on the disk?")
        if adapter is not None:
            _merge(source, adapter, draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _with_format_of(adapter: Path) -> Any:
    """What llama.cpp is to write into the copy's header, so that the merged model says as its adapter did how it wants to be spoken to; None: nothing."""
    try:
        name = read_gguf(adapter).header.get(CHAT_FORMAT_KEY)
    except (OSError, ValueError) as error:
        raise EngineError(f"The adapter {adapter.name} cannot be read: {error}.") from error
    if not isinstance(name, str):
        return None
    overrides = (_llama.llama_model_kv_override * 2)()  # the last one is empty and ends the list
    overrides[0].key, overrides[0].tag, overrides[0].value.val_str = CHAT_FORMAT_KEY.encode(), _TEXT, name.encode()
    return overrides


def _merge(source: Path, adapter: Path, copy: Path) -> None:
    """W + (alpha / rank) B A, in place, for each matrix of `copy` that the adapter changes. W is read from `source`, whose numbers are the exact ones."""
    try:
        weights = {each.name: each for each in GGUFReader(source).tensors}
        learned = GGUFReader(adapter)
        alpha = float(learned.fields["adapter.lora.alpha"].contents())
        parts = {each.name: dequantize(each.data, each.tensor_type) for each in learned.tensors}
        for tensor in GGUFReader(copy, "r+").tensors:
            if f"{tensor.name}.lora_a" in parts:
                a, b = parts.pop(f"{tensor.name}.lora_a"), parts.pop(f"{tensor.name}.lora_b")
                whole = dequantize(weights[tensor.name].data, weights[tensor.name].tensor_type) + (alpha / len(a)) * (b @ a)
                tensor.data[:] = quantize(whole, tensor.tensor_type)
    except (KeyError, ValueError, NotImplementedError) as error:
        raise EngineError(f"The adapter {adapter.name} does not fit {source.name}: {error}.") from error
    if parts:
        raise EngineError(f"The adapter {adapter.name} does not fit {source.name}, which has no {next(iter(parts)).rpartition('.')[0]}.")
