"""What the starter model's training computes, on the real base: texts that branch, and what the base says by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scripts.starter import export
from scripts.starter.base_model import base_model_path
from scripts.starter.llama import Adapted, Llama
from scripts.starter.tokens import Tokens
from scripts.starter.train import branched, padded
from tests.tiny_adapter import write_adapter

pytestmark = [pytest.mark.model, pytest.mark.timeout(180)]
TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "syntax": "json",
}


def conversation(asked: str, city: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": "", "calls": [["c", "get_weather", json.dumps({"city": city})]]}]
    return {"tools": [TOOL], "messages": messages, "untrained": [], "cut": []}


@pytest.fixture(scope="module")
def model() -> Llama:
    """The base, with an adapter that changes what it says."""
    model = Llama(base_model_path())
    with torch.no_grad():
        for each in model.modules():
            if isinstance(each, Adapted):
                each.b.normal_(std=0.02, generator=torch.Generator().manual_seed(1))
    return model


@pytest.fixture(scope="module")
def texts() -> list[tuple[NDArray[np.uint16], NDArray[np.bool_]]]:
    tokens = Tokens(base_model_path())
    asked = {"Weather in Oslo?": "Oslo", "Will it rain in Rome tomorrow?": "Rome", "weather Bern": "Bern"}
    return [tokens.of(conversation(question, city)) for question, city in asked.items()]


@torch.no_grad()
def learned_logits(model: Llama, texts: list[tuple[NDArray[np.uint16], NDArray[np.bool_]]]) -> torch.Tensor:
    tokens, wanted, branches = padded([branched(texts)])
    logits: torch.Tensor = model(tokens, wanted, branches if branches.any() else None)
    return logits


def test_each_branch_is_read_as_if_it_were_alone(model: Llama, texts: list[tuple[NDArray[np.uint16], NDArray[np.bool_]]]) -> None:
    together = learned_logits(model, texts)
    alone = torch.cat([learned_logits(model, [text]) for text in texts])

    assert len(branched(texts)) < 0.75 * sum(len(ids) for ids, _ in texts)
    assert together.shape == alone.shape
    assert float((together - alone).abs().max()) < 1e-2


def test_what_fills_a_row_up_changes_nothing(model: Llama, texts: list[tuple[NDArray[np.uint16], NDArray[np.bool_]]]) -> None:
    tokens, wanted, branches = padded([branched(texts), branched(texts[:1])])

    with torch.no_grad():
        logits = model(tokens, wanted, branches)

    alone = torch.cat([learned_logits(model, texts), learned_logits(model, texts[:1])])
    assert float((logits - alone).abs().max()) < 1e-2


def test_the_base_speaks_for_itself_while_an_adapter_is_trained(model: Llama, texts: list[tuple[NDArray[np.uint16], NDArray[np.bool_]]]) -> None:
    with model.as_base():
        said = learned_logits(model, texts)

    assert not said.requires_grad
    assert torch.equal(said, learned_logits(Llama(base_model_path()), texts))
    assert float((said - learned_logits(model, texts)).abs().max()) > 0.1


def test_texts_with_nothing_in_common_are_all_there(texts: list[tuple[NDArray[np.uint16], NDArray[np.bool_]]]) -> None:
    (first, learned), other = texts[0], np.array([7, 8, 9], dtype=np.uint16)

    joined = branched([(first, learned), (other, np.array([False, False, True]))])

    assert joined.ids.tolist() == [*first, *other]
    assert joined.is_learned.sum() == learned.sum() + 1
    assert sorted(set(joined.branches.tolist())) == [1, 2]


def test_an_exported_adapter_is_read_again_as_it_was_learned(model: Llama, tmp_path: Path) -> None:
    export.write(model.state_dict(), tmp_path / "adapter.gguf", num_tokens=1)
    again = Llama(base_model_path(), seed=5)

    export.read_into(again, tmp_path / "adapter.gguf")

    learned, read = model.state_dict(), again.state_dict()
    assert learned.keys() == read.keys()
    assert all(torch.allclose(learned[name], read[name], rtol=1e-3, atol=1e-6) for name in learned)


def test_an_adapter_of_another_model_is_no_start(model: Llama, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no adapter for this base"):
        export.read_into(model, write_adapter(tmp_path / "other.gguf"))
