"""From logits to a token: greedy, nucleus, seed, mask."""

from __future__ import annotations

import numpy as np
import pytest

from offline_assistants.engine.sampler import Sampler
from offline_assistants.errors import EngineError
from offline_assistants.ports import SamplingParams

LOGITS = np.log(np.array([0.1, 0.6, 0.25, 0.05], dtype=np.float32))


def draws(params: SamplingParams, *, seed: int = 1, num: int = 300) -> list[int]:
    sampler = Sampler(params, np.random.default_rng(seed))
    return [sampler.sample(LOGITS) for _ in range(num)]


def test_temperature_zero_takes_the_likeliest():
    assert set(draws(SamplingParams(temperature=0))) == {1}


def test_temperature_one_draws_in_proportion():
    counts = np.bincount(draws(SamplingParams(), num=4000), minlength=4) / 4000

    assert counts == pytest.approx([0.1, 0.6, 0.25, 0.05], abs=0.03)


def test_top_p_leaves_out_the_tail():
    assert set(draws(SamplingParams(top_p=0.8))) == {1, 2}


def test_top_p_zero_leaves_the_likeliest():
    assert set(draws(SamplingParams(top_p=0))) == {1}


def test_a_seed_repeats_the_draws():
    assert draws(SamplingParams(temperature=1.5), seed=7) == draws(SamplingParams(temperature=1.5), seed=7)


def test_what_the_grammar_forbids_is_never_drawn():
    sampler = Sampler(SamplingParams(temperature=2), np.random.default_rng(1))
    allowed = np.array([True, False, False, True])

    assert {sampler.sample(LOGITS, allowed) for _ in range(100)} == {0, 3}


@pytest.mark.parametrize("logits", [np.full(4, np.nan), np.full(4, -np.inf)])
def test_numbers_that_are_no_logits_are_an_error(logits: np.ndarray):
    with pytest.raises(EngineError):
        Sampler(SamplingParams(), np.random.default_rng(1)).sample(logits.astype(np.float32))
