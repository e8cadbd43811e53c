"""How fast the base decodes with the adapter merged into it, against the base alone: both in Q8_0, as `models tune` makes them, in alternating rounds."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from offline_assistants.engine.model_runner import ModelRunner
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.requantizer import requantize
from offline_assistants.engine.scheduler import BatchItem
from scripts.starter.base_model import base_model_path

NUM_ROUNDS = 9
_NUM_TOKENS = 64
_TOKEN = 1000


def decode_ratio(adapter: Path) -> float:
    """The median of the rounds' ratios."""
    with tempfile.TemporaryDirectory(prefix="starter-") as folder:
        merged, base = Path(folder, "merged.gguf"), Path(folder, "base.gguf")
        num_cores = os.cpu_count() or 1
        requantize(base_model_path(), merged, num_threads=num_cores, adapter=adapter)
        requantize(base_model_path(), base, num_threads=num_cores)
        options = EngineOptions(max_context_tokens=512, max_running=1)
        with closing(ModelRunner(merged, options)) as ours, closing(ModelRunner(base, options)) as theirs:
            _seconds(ours), _seconds(theirs)  # the files are read from the disk now
            return statistics.median(_seconds(theirs) / _seconds(ours) for _ in range(NUM_ROUNDS))


def _seconds(runner: ModelRunner) -> float:
    runner.cut(0, 0)
    began = time.perf_counter()
    for position in range(_NUM_TOKENS):
        runner.decode((BatchItem(0, position=position, tokens=(_TOKEN,), wants_logits=True),))
    return time.perf_counter() - began
