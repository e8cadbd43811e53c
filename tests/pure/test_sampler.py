"""From logits to a token: greedy, nucleus, seed, mask, bias, penalties; and how likely a token was."""

from __future__ import annotations

import numpy as np
import pytest

from offline_assistants.engine.logprobs import IMPOSSIBLE, token_logprob
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


def test_a_large_vocabulary_is_drawn_from_in_proportion_too():
    weights = np.zeros(1000, dtype=np.float32)
    weights[[3, 255, 256, 511, 999]] = 1, 2, 3, 4, 10
    with np.errstate(divide="ignore"):
        sampler = Sampler(SamplingParams(temperature=1), np.random.default_rng(1))
        drawn = np.bincount([sampler.sample(np.log(weights)) for _ in range(4000)], minlength=1000) / 4000

    assert np.abs(drawn - weights / 20).max() < 0.03
    assert set(np.flatnonzero(drawn)) == {3, 255, 256, 511, 999}


def test_the_nucleus_is_the_same_as_by_sorting_all():
    logits = np.random.default_rng(5).normal(size=3000).astype(np.float32) * 3
    order = np.argsort(-logits, kind="stable")
    cumulative = np.cumsum(np.exp(logits[order].astype(np.float64)))
    nucleus = set(order[: int(cumulative.searchsorted(0.9 * cumulative[-1])) + 1])
    sampler = Sampler(SamplingParams(temperature=1, top_p=0.9), np.random.default_rng(1))

    assert {sampler.sample(logits) for _ in range(3000)} <= nucleus


@pytest.mark.parametrize("temperature", [1e-45, 1e-9, 1e-3])
def test_a_temperature_near_zero_takes_the_likeliest(temperature: float):
    assert Sampler(SamplingParams(temperature=temperature), np.random.default_rng(1)).sample(np.array([0, 3, 2], dtype=np.float32)) == 1


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


def test_a_bias_moves_the_choice():
    assert set(draws(SamplingParams(temperature=0, logit_bias=((2, 100.0),)))) == {2}
    assert 1 not in draws(SamplingParams(logit_bias=((1, -100.0),)))


@pytest.mark.parametrize(("params", "expected"), [({"frequency_penalty": 0.5}, [1, 1, 2, 1, 2, 1]), ({"presence_penalty": 1.0}, [1, 2, 1, 1, 1, 1])])
def test_a_penalty_grows_with_each_time_or_counts_once(params: dict[str, float], expected: list[int]):
    sampler = Sampler(SamplingParams(temperature=0, **params), np.random.default_rng(1))
    said = []

    for _ in expected:
        said.append(sampler.sample(LOGITS))
        sampler.count(said[-1])

    assert said == expected


def test_the_model_s_numbers_stay_as_they_were():
    logits = LOGITS.copy()
    sampler = Sampler(SamplingParams(logit_bias=((0, 5.0),), presence_penalty=2), np.random.default_rng(1))
    sampler.count(1)
    sampler.sample(logits)

    assert (logits == LOGITS).all()


def test_a_token_is_named_with_its_likelihood_and_the_likeliest_beside_it():
    found = token_logprob(LOGITS + 7, 3, num_top=2, name=lambda token: f"t{token}".encode())

    assert (found.token, [name for name, _ in found.top]) == (b"t3", [b"t1", b"t2"])
    assert np.exp([found.logprob, *(value for _, value in found.top)]) == pytest.approx([0.05, 0.6, 0.25], rel=1e-4)


def test_more_likeliest_tokens_than_there_are_bring_all():
    assert len(token_logprob(LOGITS, 0, num_top=20, name=lambda _: b"").top) == 4


def test_what_cannot_be_is_a_number_that_json_knows():
    assert token_logprob(np.array([0, -np.inf], dtype=np.float32), 1, num_top=0, name=lambda _: b"").logprob == IMPOSSIBLE
