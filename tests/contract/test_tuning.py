"""`models tune` over the real model: what it finds is kept, and a server that loads the model afterwards runs it so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from offline_assistants.catalog import Catalog
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.pool import EnginePool
from offline_assistants.engine.tunings import Tunings
from tests.acceptance.test_commands import command
from tests.contract.test_engines_contract import GREEDY, STARTER, ask, require_starter_model

pytestmark = [pytest.mark.model, pytest.mark.timeout(240)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    require_starter_model()
    return tmp_path / "data"


def test_threads_are_measured_and_kept_without_a_copy(data: Path):
    done = command("models", "tune", STARTER, "--json", "--data-dir", data)

    found, kept = json.loads(done.stdout), json.loads((data / "tuned.json").read_text())
    assert found["original"]["decode"].keys() == found["original"]["prefill"].keys() >= {"1"}
    assert min(found["original"]["prefill"].values()) > 0
    assert kept[STARTER]["decode_threads"] == found["chosen"]["decode_threads"] >= 1
    assert (found["chosen"]["copy"], list(data.glob("tuned/*"))) == (None, [])
    shown = json.loads(command("models", "show", STARTER, "--json", "--data-dir", data).stdout)
    assert shown["tuned_prefill_threads"] == found["chosen"]["prefill_threads"]


async def test_a_copy_answers_in_place_of_its_original_until_it_is_forgotten(data: Path):
    found = json.loads(command("models", "tune", STARTER, "--copy", "--json", "--data-dir", data).stdout)
    catalog, tunings = Catalog(data / "models"), Tunings(data / "tuned.json")
    expected = "smollm2-135m-instruct-Q8_0.gguf" if found["chosen"]["copy"] else "SmolLM2-135M-Instruct.Q4_1.gguf"

    async with EnginePool(catalog, EngineOptions(max_context_tokens=512), tunings=tunings) as pool:
        assert (await pool.load(STARTER)).file_name == expected
        assert (await ask(pool, "Hello", GREEDY)).text

    assert "the defaults again" in command("models", "tune", STARTER, "--forget", "--data-dir", data).stdout
    assert not (tunings.copies / expected).exists()


def test_a_model_that_is_not_there_or_not_whole_cannot_be_tuned(data: Path):
    (data / "models").mkdir(parents=True)
    (data / "models" / "broken.gguf").write_bytes(b"GGUF")

    missing, broken = (command("models", "tune", name, "--data-dir", data) for name in ("gpt-9", "broken"))

    assert (missing.returncode, "There are:" in missing.stderr) == (1, True)
    assert (broken.returncode, "broken.gguf cannot be used" in broken.stderr) == (1, True)


def test_only_one_model_at_a_time_is_copied_or_forgotten(data: Path):
    assert "name it" in command("models", "tune", "--copy", "--data-dir", data).stderr
