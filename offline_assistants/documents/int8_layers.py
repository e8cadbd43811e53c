"""Linear layers with weights of eight bits, made from a model's own when it is loaded: twice as many texts a second, where the processor multiplies such.

Weights have a scale for each row, inputs one for each batch. A model is only used so if its vectors stay where they were: those of all-MiniLM-L6-v2 have a
cosine of 0.9935 to the exact ones. Of 317 questions it finds 0.3 points fewer within five results, 0.3 more within twenty (`scripts/bench retrieval`).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch

_ENGINE = "onednn"
_FAST_FLAGS = {"avx512_vnni", "avx_vnni"}
"""Processors without one of these add eight-bit products in sixteen bits, where they overflow."""
_LEAST_COSINE = 0.97
_PROBES = (
    "The lease ends on the last day of March.",
    "Quarterly revenue rose by 4.2 % to 18.3 million, mostly in the north.",
    "def area(radius):\n    return 3.14159 * radius ** 2",
    "Der Vertrag verlängert sich um ein Jahr, wenn er nicht gekündigt wird.",
    "| kind | height |\n|---|---|\n| oak | 21.5 |\n| beech | 18.0 |",
    "Preheat the oven, then fold the egg whites into the flour without stirring. Bake it for forty minutes and leave it in its form until it is cold.",
)


class Int8Linear(torch.nn.Module):
    """As `linear`, nearly."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scales = (weight.abs().amax(dim=1) / 127).clamp_min(1e-9).double()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch means to drop these tensors some day; without them there is no copy
            rows = torch.quantize_per_channel(weight, scales, torch.zeros(len(weight), dtype=torch.int64), 0, torch.qint8)
        self._packed: Any = torch.ops.quantized.linear_prepack(rows, cast("torch.Tensor | None", linear.bias))  # torch's types forget that it may be None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.ops.quantized.linear_dynamic(inputs, self._packed, False)


def int8_copies(model: Any, embed: Callable[[Any, list[str]], Any], number: int, *, cpuinfo: Path = Path("/proc/cpuinfo")) -> list[Any]:
    """Copies of a sentence-transformers model that share all weights but those of their linear layers. None where they would not be fast, or not true.

    `embed` gives a model's vectors of some texts, each of length 1.
    """
    if not _is_fast_here(cpuinfo):
        return []
    torch.backends.quantized.engine = _ENGINE
    copies = [_with_int8(copy.deepcopy(model, {id(each): each for each in [*model.parameters(), *model.buffers()]})) for _ in range(number)]
    cosines = (embed(model, list(_PROBES)) * embed(copies[0], list(_PROBES))).sum(axis=1)
    return copies if cosines.min() >= _LEAST_COSINE else []


def _is_fast_here(cpuinfo: Path) -> bool:
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), list[str]())
    return not _FAST_FLAGS.isdisjoint(flags) and hasattr(torch, "quantize_per_channel") and _ENGINE in torch.backends.quantized.supported_engines


def _with_int8(module: torch.nn.Module) -> torch.nn.Module:
    for name, child in module.named_children():
        if isinstance(child, torch.nn.Linear):
            setattr(module, name, Int8Linear(child))
        else:
            _with_int8(child)
    return module
