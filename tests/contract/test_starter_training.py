"""What the starter model's training computes, on the real base: texts that branch, and what the base says by itself."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scripts.starter.base_model import base_model_path
from scripts.starter.llama import Adapted, Llama
from scripts.starter.tokens import Tokens
from scripts.starter.train import branched, padded

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
