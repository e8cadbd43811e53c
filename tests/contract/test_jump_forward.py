"""What a schema leaves no choice about is not sampled: it is appended, and computed in one batch with what comes after it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

from offline_assistants.catalog import Catalog
from offline_assistants.engine.chat_formats.schemas import closed, json_rule
from offline_assistants.engine.grammar import TokenGrammar
from offline_assistants.engine.kv_cache import KVCache
from offline_assistants.engine.model_runner import ModelRunner
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.sampler import Sampler
from offline_assistants.engine.scheduler import Batch
from offline_assistants.engine.sequence import Sequence
from offline_assistants.engine.sight import PromptTokens
from offline_assistants.engine.stepper import Stepper
from offline_assistants.ports import SamplingParams, TextDelta
from tests.contract.test_engines_contract import STARTER, require_starter_model

pytestmark = [pytest.mark.model, pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore:llama_:DeprecationWarning")]
OPTIONS = EngineOptions(max_context_tokens=512, max_running=1)
NAMES = ("the_name_of_the_city_that_was_asked_for", "the_country_in_which_that_city_lies", "whether_it_is_the_capital_of_its_country")
SCHEMA = {
    "type": "object",
    "properties": {NAMES[0]: {"enum": ["Oslo", "Rome", "Lima"]}, NAMES[1]: {"enum": ["Norway", "Italy", "Peru"]}, NAMES[2]: {"type": "boolean"}},
    "required": list(NAMES),
}


class CountingRunner(ModelRunner):
    """Remembers how many tokens each batch had."""

    def decode(self, batch: Batch) -> dict[int, NDArray[np.float32]]:
        self.sizes = [*getattr(self, "sizes", []), sum(len(item.tokens) for item in batch)]
        return super().decode(batch)


def test_long_keys_take_few_steps(tmp_path: Path):
    require_starter_model()
    path = next(file.path for file in Catalog(tmp_path).list_files() if file.model_id == STARTER)
    runner = CountingRunner(path, OPTIONS)
    grammar = TokenGrammar(f"start: {json_rule(closed(SCHEMA))}", runner.grammar_tokenizer())
    sampler = Sampler(SamplingParams(temperature=0), np.random.default_rng(0))
    prompt = PromptTokens(runner.tokenize_raw("Write of a city in JSON:\n"))
    sequence = Sequence(1, prompt=prompt, max_tokens=200, piece=runner.piece, end_tokens=runner.end_tokens, sampler=sampler, grammar=grammar)
    stepper = Stepper(runner, KVCache(1, can_cut=True), OPTIONS, num_kv_tokens=runner.num_kv_tokens, clock=time.perf_counter)

    replies = stepper.add(sequence)
    while not stepper.is_idle:
        replies += stepper.step()

    text = "".join(delta.text for reply in replies for delta in reply.deltas if isinstance(delta, TextDelta))  # type: ignore[union-attr]
    jsonschema.validate(json.loads(text), SCHEMA)
    assert sequence.num_completion_tokens > 30
    assert len(runner.sizes) < sequence.num_completion_tokens / 3
    assert max(runner.sizes[1:]) > 5
