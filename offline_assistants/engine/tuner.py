"""Measures how a model is run best on this machine. The child process of `models tune`: what it finds goes to stdout, a JSON object on each line.

A figure is the best of a few short rounds, and rounds of all candidates alternate, so that what the machine does for a moment beside them falsifies none.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from offline_assistants.engine.model_runner import ModelRunner
from offline_assistants.engine.options import EngineOptions, LoraAdapter
from offline_assistants.engine.requantizer import requantize
from offline_assistants.engine.scheduler import BatchItem
from offline_assistants.errors import OfflineAssistantsError

NUM_ROUNDS = 3
_ROUND_S = 0.3
_MAX_S = 20.0
"""No further round begins after that. On a machine that is busy, or with a large model, one round has to do."""
_MAX_PREFILL, _MAX_DECODE = 256, 32
_CONTEXT_TOKENS = 512
GOOD_ENOUGH = 0.9
"""Of the best rate: fewer threads that reach it leave the other cores to whatever else the machine does, and lose little when it does."""
MIN_GAIN = 1.1
"""A copy takes room on the disk, so it has to be so much faster at reading prompts or at writing, and no slower at the other than `GOOD_ENOUGH`."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens per second by number of threads."""

    decode: dict[int, float]
    prefill: dict[int, float]

    @property
    def decode_threads(self) -> int:
        return fewest_good(self.decode)

    @property
    def prefill_threads(self) -> int:
        return fewest_good(self.prefill)


def fewest_good(rates: dict[int, float]) -> int:
    """The fewest threads that are nearly as fast as the best number of them."""
    best = max(rates.values())
    return min(number for number, rate in rates.items() if rate >= GOOD_ENOUGH * best)


def is_better(copy: Rates, original: Rates) -> bool:
    """Whether it is worth its room."""
    prefill = max(copy.prefill.values()) / max(original.prefill.values())
    decode = max(copy.decode.values()) / max(original.decode.values())
    return max(prefill, decode) >= MIN_GAIN and min(prefill, decode) >= GOOD_ENOUGH


def candidates(num_cores: int) -> list[int]:
    """Numbers of threads to try: few and half and all, and some between."""
    numbers = {1, 2, 4, num_cores // 4, num_cores // 2, num_cores * 3 // 4, num_cores}
    return sorted(number for number in numbers if 1 <= number <= num_cores)


def measure(runner: ModelRunner, num_threads: Sequence[int], advance: Callable[[float], None]) -> Rates:
    """The rates of a model. `advance` is told which part of the work was done."""
    prompt = (1000 % runner.num_vocab,) * _MAX_PREFILL
    _prefill(runner, prompt[:16])  # the file is read from the disk now
    probe = _timed(lambda: _prefill(runner, prompt[:16]))
    num_prefill = max(16, min(_MAX_PREFILL, int(16 * _ROUND_S / probe)))
    one_token = _timed(lambda: _decode(runner, prompt, 2)) / 2
    num_decode = max(2, min(_MAX_DECODE, int(_ROUND_S / one_token)))
    decode: dict[int, list[float]] = {number: [] for number in num_threads}
    prefill: dict[int, list[float]] = {number: [] for number in num_threads}
    began = time.perf_counter()
    for number_of_round in range(NUM_ROUNDS):
        if number_of_round and time.perf_counter() - began > _MAX_S:
            break
        for number in num_threads:
            runner.set_threads(number)
            prefill[number].append(num_prefill / _timed(lambda: _prefill(runner, prompt[:num_prefill])))
            decode[number].append(num_decode / _timed(lambda: _decode(runner, prompt, num_decode)))
            advance(1 / NUM_ROUNDS / len(num_threads))
    return Rates(_best(decode), _best(prefill))


def _best(rates: dict[int, list[float]]) -> dict[int, float]:
    return {number: round(max(each), 1) for number, each in rates.items()}


def _prefill(runner: ModelRunner, tokens: tuple[int, ...]) -> None:
    runner.cut(0, 0)
    runner.decode((BatchItem(0, position=0, tokens=tokens, wants_logits=True),))


def _decode(runner: ModelRunner, tokens: tuple[int, ...], num_tokens: int) -> None:
    runner.cut(0, 0)
    for position in range(num_tokens):
        runner.decode((BatchItem(0, position=position, tokens=tokens[:1], wants_logits=True),))


def _timed(compute: Callable[[], None]) -> float:
    began = time.perf_counter()
    compute()
    return max(1e-6, time.perf_counter() - began)


# ── The child process ────────────────────────────────────────────────────────────────────────────────────────────────


def _findings(path: Path, copy: Path | None, adapter: Path | None) -> Iterator[dict[str, object]]:
    """`copy`: where to put one in Q8_0, with the adapter in it. It stays there only if it is better than the original with the adapter beside it."""
    numbers = candidates(len(os.sched_getaffinity(0)))
    original = _rates(path, numbers, adapter)
    yield {"original": asdict(original)}
    if copy is None:
        yield _choice(original, None)
        return
    requantize(path, copy, num_threads=max(numbers), adapter=adapter)
    found = _rates(copy, numbers)
    yield {"copy": asdict(found), "copy_bytes": copy.stat().st_size}
    if is_better(found, original):
        yield _choice(found, copy.name)
        return
    copy.unlink()
    yield _choice(original, None)


def _choice(rates: Rates, copy: str | None) -> dict[str, object]:
    return {"chosen": {"decode_threads": rates.decode_threads, "prefill_threads": rates.prefill_threads, "copy": copy}}


def _rates(path: Path, numbers: Sequence[int], adapter: Path | None = None) -> Rates:
    adapters = (LoraAdapter(path.stem, adapter),) if adapter else ()
    options = EngineOptions(max_context_tokens=_CONTEXT_TOKENS, max_running=1, max_step_tokens=_MAX_PREFILL, lora_adapters=adapters)
    runner = ModelRunner(path, options)
    try:
        return measure(runner, numbers, lambda part: _tell({"progress": part}))
    finally:
        runner.close()


def _tell(finding: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(finding) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--copy", type=Path, help="where a copy may go")
    parser.add_argument("--adapter", type=Path)
    arguments = parser.parse_args()
    try:
        for finding in _findings(arguments.model, arguments.copy, arguments.adapter):
            _tell(finding)
    except OfflineAssistantsError as error:
        _tell({"error": error.message})


if __name__ == "__main__":
    main()
