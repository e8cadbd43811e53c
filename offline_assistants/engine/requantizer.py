"""The door to llama.cpp's quantization: a model's weights in another form. Knows nothing of why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import llama_cpp

from offline_assistants.errors import EngineError

_llama: Any = llama_cpp
_MOSTLY_Q8_0 = 7
"""llama_ftype."""


def requantize(source: Path, target: Path, *, num_threads: int) -> None:
    """Writes the model of `source`, one GGUF file, in Q8_0. Raises EngineError; then there is no `target`."""
    params = _llama.llama_model_quantize_default_params()
    params.ftype = _MOSTLY_Q8_0
    params.nthread = num_threads
    params.allow_requantize = True
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        result = _llama.llama_model_quantize(os.fsencode(source), os.fsencode(draft), params)
        if result != 0:
            raise EngineError(f"llama.cpp could not make a copy of {source.name} (code {result}); its reason is above. Is there room on the disk?")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
