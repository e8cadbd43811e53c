"""What was found in the cache changes no answer: a real model asked turn by turn, with what it remembers, and with nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence as Collection
from pathlib import Path

import numpy as np
import pytest

from offline_assistants.catalog import Catalog
from offline_assistants.engine.kv_cache import KVCache
from offline_assistants.engine.model_runner import ModelRunner
from offline_assistants.engine.options import EngineOptions, KVCacheType
from offline_assistants.engine.sampler import Sampler
from offline_assistants.engine.sequence import Sequence
from offline_assistants.engine.sight import PromptTokens
from offline_assistants.engine.stepper import Stepper
from offline_assistants.ports import SamplingParams
from tests.contract.test_engines_contract import STARTER, require_starter_model

pytestmark = [pytest.mark.model, pytest.mark.timeout(180)]
ANSWER_TOKENS = 8
INSTRUCTIONS = "You are a clerk in a bookshop by the sea. Answer briefly and kindly. " * 3
QUESTIONS = ("Where do I find books about birds, and which of them would you read first?", "And about ships?", "What did I ask first?")


class Machine:
    """A model with its slots, of which nothing is left by `forget`."""

    def __init__(self, path: Path, options: EngineOptions) -> None:
        self.runner = ModelRunner(path, options)
        self.options = options
        self.forget()

    def forget(self) -> None:
        for slot_id in range(self.runner.num_slots):
            self.runner.cut(slot_id, 0)
        cache = KVCache(self.runner.num_slots)
        self.stepper = Stepper(self.runner, cache, self.options, num_kv_tokens=self.runner.num_kv_tokens, clock=time.perf_counter)

    def begin(self, request_id: int, prompt: Collection[int]) -> Sequence:
        sampler = Sampler(SamplingParams(temperature=0), np.random.default_rng(1))
        tokens = PromptTokens(list(prompt))
        piece = self.runner.piece
        sequence = Sequence(request_id, prompt=tokens, max_tokens=ANSWER_TOKENS, piece=piece, end_tokens=self.runner.end_tokens, sampler=sampler)
        self.stepper.add(sequence)
        return sequence

    def finish(self) -> None:
        while not self.stepper.is_idle:
            self.stepper.step()

    def answer(self, prompt: Collection[int]) -> list[int]:
        sequence = self.begin(1, prompt)
        self.finish()
        return sequence.tokens[len(prompt) :]

    def prompts(self) -> list[list[int]]:
        """Three turns of a thread, and the first of another with the same instructions."""
        text, prompts = f"{INSTRUCTIONS}\n", list[list[int]]()
        for question in QUESTIONS:
            text += f"Q: {question}\nA:"
            prompts.append(self.runner.tokenize_raw(text))
            self.forget()
            text += self.runner.text(self.answer(prompts[-1])) + "\n"
        self.forget()
        return [*prompts, self.runner.tokenize_raw(f"{INSTRUCTIONS}\nQ: Are you open on Sundays?\nA:")]


@pytest.mark.parametrize("kind", ["bf16", "q8_0"])
def test_answers_are_token_by_token_those_of_an_empty_cache(kind: KVCacheType, tmp_path: Path):
    require_starter_model()
    path = next(file.path for file in Catalog(tmp_path).list_files() if file.model_id == STARTER)
    machine = Machine(path, EngineOptions(max_context_tokens=1024, max_running=4, num_prefill_threads=1, kv_cache_type=kind))
    prompts = machine.prompts()

    with_cache = [machine.answer(prompt) for prompt in prompts]
    num_read = machine.stepper.state().num_prompt_tokens
    without: list[list[int]] = []
    for prompt in prompts:
        machine.forget()
        without.append(machine.answer(prompt))
    machine.forget()
    beside = [machine.begin(number, prompt) for number, prompt in enumerate(prompts)]
    machine.finish()

    assert num_read < sum(map(len, prompts)) / 2
    assert with_cache == without
    assert [each.tokens[len(prompt) :] for each, prompt in zip(beside, prompts, strict=True)] == without
