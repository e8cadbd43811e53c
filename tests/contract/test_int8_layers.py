"""Linear layers with weights of eight bits: what they compute, and when they are not used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from offline_assistants.documents.int8_layers import int8_copies

pytestmark = pytest.mark.skipif("onednn" not in torch.backends.quantized.supported_engines, reason="torch has no engine for eight bits here")


@pytest.fixture
def fast(tmp_path: Path) -> Path:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 avx_vnni\n")
    return tmp_path / "cpuinfo"


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.GELU(), torch.nn.Linear(128, 32, bias=False))


def embed(model: Any, texts: list[str]) -> Any:
    """Of each text's characters, some vector of length 1."""
    inputs = torch.tensor([[float(ord(char) % 31) for char in text.ljust(64)[:64]] for text in texts])
    with torch.no_grad():
        vectors = model(inputs).numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_copies_answer_as_the_model_does(model: torch.nn.Module, fast: Path):
    copies = int8_copies(model, embed, 2, cpuinfo=fast)

    exact = embed(model, ["a few words", "and others"])
    assert len(copies) == 2
    assert all((embed(each, ["a few words", "and others"]) * exact).sum(axis=1).min() > 0.99 for each in copies)
    assert isinstance(model[0], torch.nn.Linear)


def test_a_model_that_eight_bits_would_spoil_keeps_its_own(model: torch.nn.Module, fast: Path):
    calls: list[Any] = []

    def embed_elsewhere(asked: Any, texts: list[str]) -> Any:
        calls.append(asked)
        return np.eye(len(texts)) if len(calls) == 1 else np.roll(np.eye(len(texts)), 1, axis=0)

    assert int8_copies(model, embed_elsewhere, 1, cpuinfo=fast) == []
    assert len(calls) == 2


@pytest.mark.parametrize("flags", ["fpu avx2", ""])
def test_a_processor_that_would_be_slow_or_wrong_is_not_asked(model: torch.nn.Module, tmp_path: Path, flags: str):
    (tmp_path / "cpuinfo").write_text(f"flags\t: {flags}\n")

    assert int8_copies(model, embed, 1, cpuinfo=tmp_path / "cpuinfo") == []
    assert int8_copies(model, embed, 1, cpuinfo=tmp_path / "missing") == []
