"""What `models tune` chooses, and when what it found no longer holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from offline_assistants.domain.models import AdapterFile, ModelFile, Tuned
from offline_assistants.engine.llama_engine import options_for
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.tuner import Rates, candidates, fewest_good, is_better
from offline_assistants.engine.tunings import Tunings

FILE = ModelFile("small", Path("/models/small.gguf"), size_bytes=100, created_at=7)
FOUND = Tuned(decode_threads=2, prefill_threads=4)


@pytest.fixture
def tunings(tmp_path: Path) -> Tunings:
    return Tunings(tmp_path / "data" / "tuned.json")


def tuned(tunings: Tunings, file: ModelFile = FILE) -> Tuned | None:
    [found] = tunings.apply([file])
    return found.tuned


@pytest.mark.parametrize(("rates", "number"), [({1: 91.0, 2: 95.0}, 1), ({1: 50.0, 2: 95.0, 4: 100.0}, 2), ({1: 20.0, 2: 3.0}, 1), ({1: 5.0}, 1)])
def test_few_threads_are_enough_when_more_bring_little(rates: dict[int, float], number: int):
    assert fewest_good(rates) == number


@pytest.mark.parametrize(("num_cores", "numbers"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 3, 4, 6]), (16, [1, 2, 4, 8, 12, 16])])
def test_a_few_numbers_of_threads_are_tried(num_cores: int, numbers: list[int]):
    assert candidates(num_cores) == numbers


@pytest.mark.parametrize(
    ("decode", "prefill", "expected"), [(100.0, 400.0, True), (91.0, 210.0, False), (50.0, 400.0, False), (140.0, 190.0, True), (140.0, 100.0, False)]
)
def test_a_copy_has_to_be_worth_its_room(decode: float, prefill: float, expected: bool):
    original = Rates({1: 90.0}, {2: 200.0})

    assert is_better(Rates({1: decode}, {2: prefill}), original) is expected


def test_what_was_found_holds_for_that_file_until_it_is_forgotten(tunings: Tunings):
    assert tuned(tunings) is None

    tunings.keep(FILE, FOUND)

    assert tuned(tunings) == FOUND
    assert tuned(tunings, replace(FILE, model_id="other")) is None
    assert (tunings.forget("small"), tunings.forget("small"), tuned(tunings)) == (True, False, None)


@pytest.mark.parametrize("change", [{"size_bytes": 101}, {"created_at": 8}, {"path": Path("/models/new/small.gguf")}])
def test_a_file_that_changed_has_to_be_tuned_again(tunings: Tunings, change: dict[str, object]):
    tunings.keep(FILE, FOUND)

    assert tuned(tunings, replace(FILE, **change)) is None  # type: ignore[arg-type]


def test_a_model_whose_adapter_changed_has_to_be_tuned_again(tunings: Tunings):
    first, second = (replace(FILE, adapter=AdapterFile(Path("/models/small.lora.gguf"), sha256)) for sha256 in ("aa", "bb"))
    tunings.keep(first, FOUND)

    assert (tuned(tunings, first), tuned(tunings, second), tuned(tunings, FILE)) == (FOUND, None, None)


@pytest.mark.parametrize("content", ["", "[]", '{"small": 1}', '{"small": {}}', "{"])
def test_what_cannot_be_read_is_as_if_it_were_not_there(tunings: Tunings, tmp_path: Path, content: str):
    tunings.keep(FILE, FOUND)
    (tmp_path / "data" / "tuned.json").write_text(content)

    assert tuned(tunings) is None


def test_what_was_found_on_another_machine_does_not_hold(tunings: Tunings, tmp_path: Path):
    tunings.keep(FILE, FOUND)
    path = tmp_path / "data" / "tuned.json"
    path.write_text(json.dumps({"small": {**json.loads(path.read_text())["small"], "machine": "abacus, 10 cores"}}))

    assert tuned(tunings) is None


def test_a_copy_is_used_while_it_is_as_it_was_made_and_deleted_when_it_is_not_wanted(tunings: Tunings):
    copy = tunings.copies / "small-Q8_0.gguf"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"weights")
    tunings.keep(FILE, replace(FOUND, copy=copy))
    [file] = tunings.apply([FILE])

    assert file.loaded_path == copy
    copy.write_bytes(b"weig")
    assert tuned(tunings) == FOUND
    tunings.keep(FILE, FOUND)
    assert not copy.exists()


def test_what_a_person_says_comes_before_what_was_measured():
    file = replace(FILE, tuned=FOUND)

    assert (options_for(file, EngineOptions()).num_decode_threads, options_for(file, EngineOptions()).num_prefill_threads) == (2, 4)
    assert options_for(file, EngineOptions(num_decode_threads=7)).num_decode_threads == 7
    assert options_for(FILE, EngineOptions()).num_decode_threads is None
