"""The loop of the engine with a scripted model: admission, interleaving, cancelling, a cache that is full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offline_assistants.engine.detokenizer import StopStrings
from offline_assistants.engine.kv_cache import Aborted, CacheIsFull, KVCache
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.pace import MAX_STRETCH
from offline_assistants.engine.prefix_files import PrefixFiles
from offline_assistants.engine.sampler import Sampler
from offline_assistants.engine.scheduler import Batch
from offline_assistants.engine.sequence import Sequence
from offline_assistants.engine.sight import PromptTokens, Sight, Tile, join
from offline_assistants.engine.stepper import Stepper
from offline_assistants.engine.wire import Deltas, Failed, Reply
from offline_assistants.errors import EngineError
from offline_assistants.ports import Finished, SamplingParams, SlotState, TextDelta

END = 0


class AlphabetModel:
    """After each letter comes the next, and after z the end. It has room for `num_cells` tokens."""

    def __init__(self, num_cells: int = 1000) -> None:
        self.num_cells = num_cells
        self.cells: dict[int, list[int]] = {}
        self.batches: list[Batch] = []
        self.seen: list[int] = []
        self.aborts = 0
        self.token_s = 0.001
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def decode(self, batch: Batch) -> dict[int, NDArray[np.float32]]:
        new = sum(len(item.tokens) for item in batch)
        if sum(map(len, self.cells.values())) + new > self.num_cells:
            raise CacheIsFull
        if self.aborts:
            self.aborts -= 1
            raise Aborted
        self.now += new * self.token_s
        self.batches.append(batch)
        for item in batch:
            cells = self.cells.setdefault(item.slot_id, [])
            assert len(cells) == item.position, "a token does not follow what is cached"
            cells.extend(item.tokens)
        return {item.slot_id: self._logits(item.tokens[-1]) for item in batch if item.wants_logits}

    def cut(self, slot_id: int, keep: int) -> bool:
        self.cells[slot_id] = self.cells.get(slot_id, [])[:keep]
        return True

    def copy(self, source: int, target: int, num_tokens: int) -> None:
        self.cells[target] = self.cells[source][:num_tokens]

    def see(self, sight: Sight, slot_id: int) -> None:
        cells = self.cells.setdefault(slot_id, [])
        assert len(cells) == sight.start, "a picture does not follow what is cached"
        cells.append(sight.tile.mark)
        if sight.tile.chunk == "broken":
            raise EngineError("A picture could not be computed.")
        if sum(map(len, self.cells.values())) + sight.tile.num_positions > self.num_cells:
            raise CacheIsFull
        cells.extend([sight.tile.mark] * (sight.tile.num_positions - 1))
        self.seen.append(sight.tile.mark)

    def save(self, slot_id: int) -> bytes:
        return bytes(self.cells[slot_id])

    def restore(self, slot_id: int, state: bytes, keep: int) -> bool:
        assert not self.cells.get(slot_id)
        self.cells[slot_id] = list(state[:keep])
        return True

    def _logits(self, token: int) -> NDArray[np.float32]:
        logits = np.zeros(128, dtype=np.float32)
        logits[END if token == ord("z") else token + 1] = 1
        return logits


def sequence(request_id: int, prompt: str | PromptTokens, *, max_tokens: int = 100, stop: str = "") -> Sequence:
    return Sequence(
        request_id,
        prompt=PromptTokens([ord(letter) for letter in prompt]) if isinstance(prompt, str) else prompt,
        max_tokens=max_tokens,
        piece=lambda token: bytes([token]),
        end_tokens=frozenset({END}),
        sampler=Sampler(SamplingParams(temperature=0), np.random.default_rng(1)),
        stops=StopStrings((stop,)),
    )


def with_pictures(*pieces: str | Tile) -> PromptTokens:
    return join([[ord(letter) for letter in piece] if isinstance(piece, str) else piece for piece in pieces])


def stepper(model: AlphabetModel, *, num_slots: int = 2) -> Stepper:
    options = EngineOptions(max_running=num_slots, max_step_tokens=8)
    return Stepper(model, KVCache(num_slots), options, num_kv_tokens=model.num_cells, clock=model.clock)


def run(engine: Stepper, *sequences: Sequence) -> list[Reply]:
    replies = [reply for each in sequences for reply in engine.add(each)]
    while not engine.is_idle:
        replies += engine.step()
    return replies


def text_of(replies: list[Reply], request_id: int) -> str:
    deltas = [delta for reply in replies if isinstance(reply, Deltas) and reply.request_id == request_id for delta in reply.deltas]
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def finished(replies: list[Reply], request_id: int) -> Finished:
    (last,) = [
        delta for reply in replies if isinstance(reply, Deltas) and reply.request_id == request_id for delta in reply.deltas if isinstance(delta, Finished)
    ]
    return last


def test_an_answer_comes_token_by_token_and_ends_with_counts():
    replies = run(stepper(AlphabetModel()), sequence(1, "xw"))

    assert text_of(replies, 1) == "xyz"
    assert finished(replies, 1) == Finished("stop", num_prompt_tokens=2, num_completion_tokens=4, num_cached_tokens=0)


def test_max_tokens_ends_it_with_length():
    replies = run(stepper(AlphabetModel()), sequence(1, "a", max_tokens=2))

    assert (text_of(replies, 1), finished(replies, 1).finish_reason) == ("bc", "length")


def test_a_stop_string_ends_it():
    replies = run(stepper(AlphabetModel()), sequence(1, "a", stop="ef"))

    assert (text_of(replies, 1), finished(replies, 1).finish_reason) == ("bcd", "stop")


def test_two_sequences_advance_together_and_a_third_waits_for_a_slot():
    model = AlphabetModel()
    replies = run(stepper(model), sequence(1, "v"), sequence(2, "u"), sequence(3, "t"))

    assert [text_of(replies, request_id) for request_id in (1, 2, 3)] == ["wxyz", "vwxyz", "uvwxyz"]
    assert any(len(batch) == 2 for batch in model.batches)


def test_a_second_turn_computes_only_what_is_new():
    engine = stepper(AlphabetModel())
    run(engine, sequence(1, "mnxw"))

    replies = run(engine, sequence(2, "mnxwxyzk"))

    assert finished(replies, 2).num_cached_tokens == 7


def test_who_runs_and_who_waits_can_be_seen():
    engine = stepper(AlphabetModel(), num_slots=1)
    for request_id in (1, 2):
        engine.add(sequence(request_id, "abcdefghijkl"))
    engine.step()
    reading = engine.state()
    engine.step()

    assert (reading.slots, reading.num_waiting, reading.num_preempted) == ((SlotState(8, is_busy=True, num_pending_tokens=4),), 1, 0)
    assert engine.state().slots == (SlotState(12, is_busy=True, num_pending_tokens=1, num_answer_tokens=1),)
    assert (engine.state().num_steps, engine.state().num_prompt_tokens, engine.state().num_sampled_tokens) == (2, 12, 1)


def test_one_that_had_to_leave_the_cache_is_counted_as_such():
    engine = stepper(AlphabetModel(num_cells=10))
    for request_id in (1, 2):
        engine.add(sequence(request_id, "abc"))
    for _ in range(6):
        engine.step()

    assert (engine.state().num_waiting, engine.state().num_preempted) == (1, 1)


def test_a_cancelled_sequence_says_nothing_more_and_frees_its_slot():
    engine = stepper(AlphabetModel(), num_slots=1)
    engine.add(sequence(1, "a"))
    engine.add(sequence(2, "a"))
    engine.step()

    engine.cancel(1)
    engine.cancel(2)
    replies = run(engine, sequence(3, "y"))

    assert text_of(replies, 3) == "z"
    assert not any(reply.request_id != 3 for reply in replies)


def test_when_the_cache_is_full_idle_slots_go_first():
    engine = stepper(AlphabetModel(num_cells=20), num_slots=3)
    run(engine, sequence(1, "tuv"))

    replies = run(engine, sequence(2, "klmnopqrs", max_tokens=8))

    assert text_of(replies, 2) == "tuvwxyz"


def test_a_sequence_that_had_to_leave_the_cache_still_says_all_and_nothing_twice():
    engine = stepper(AlphabetModel(num_cells=20))

    replies = run(engine, sequence(1, "nmkjf", max_tokens=14), sequence(2, "nmkjg", max_tokens=14))

    assert text_of(replies, 1) == "ghijklmnopqrst"
    assert text_of(replies, 2) == "hijklmnopqrstu"


def test_a_sequence_that_can_never_fit_is_an_error():
    replies = run(stepper(AlphabetModel(num_cells=3)), sequence(1, "abcdef"))

    assert [type(reply) for reply in replies] == [Failed]


def test_an_aborted_step_is_computed_again_without_the_one_who_left():
    model = AlphabetModel()
    engine = stepper(model)
    engine.add(sequence(1, "a" * 20))
    engine.add(sequence(2, "w"))
    model.aborts = 1

    engine.step()
    engine.cancel(1)
    replies = run(engine)

    assert text_of(replies, 2) == "xyz"
    assert all(reply.request_id == 2 for reply in replies)


def test_only_the_one_for_whom_most_of_a_step_is_computed_may_abort_it():
    asked: list[bool] = []

    class Watched(AlphabetModel):
        def decode(self, batch: Batch) -> dict[int, NDArray[np.float32]]:
            asked.extend(engine.is_mostly_for(request_id) for request_id in (1, 2))
            return super().decode(batch)

    engine = stepper(Watched())
    engine.add(sequence(1, "a" * 5))
    engine.add(sequence(2, "w"))
    engine.step()

    assert asked == [True, False]
    assert not engine.is_mostly_for(1)


def test_a_prompt_beside_an_answer_comes_in_pieces_that_keep_the_steps_short():
    model = AlphabetModel(num_cells=2000)
    options = EngineOptions(max_running=2, max_step_tokens=256)
    engine = Stepper(model, KVCache(2), options, num_kv_tokens=model.num_cells, clock=model.clock)
    model.token_s = 0.01
    engine.add(sequence(1, "a" * 3))
    engine.step()
    engine.step()

    engine.add(sequence(2, "a" * 100, max_tokens=1))
    began, steps = model.now, []
    while len(model.cells.get(1, [])) < 100:
        engine.step()
        steps.append(model.now - began)
        began = model.now

    assert max(steps) < 0.4
    assert max(steps[1:-1]) <= 0.25


def test_several_prompts_beside_an_answer_make_steps_no_longer_than_one_does():
    model = AlphabetModel(num_cells=4000)
    engine = Stepper(model, KVCache(5), EngineOptions(max_running=5, max_step_tokens=256), num_kv_tokens=model.num_cells, clock=model.clock)
    model.token_s = 0.01
    engine.add(sequence(1, "aaa"))
    for _ in range(3):
        engine.step()

    for number in (2, 3, 4, 5):
        engine.add(sequence(number, "a" * 100, max_tokens=1))
    began, steps = model.now, []
    for _ in range(20):  # the answer to the first is longer
        engine.step()
        steps.append(model.now - began)
        began = model.now

    assert max(steps[5:]) <= 1.2 * MAX_STRETCH * model.token_s
    known = 3  # the others begin as the first does
    assert engine.state().num_prompt_tokens == known + sum(len(model.cells[slot]) - known for slot in (1, 2, 3, 4))


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────

CAT, DOG = Tile("cat", -1, num_tokens=4, num_positions=4), Tile("dog", -2, num_tokens=6, num_positions=2)


def test_pictures_are_computed_where_they_stand_and_count_all_their_tokens():
    model = AlphabetModel()

    replies = run(stepper(model), sequence(1, with_pictures("ab", CAT, DOG, "x")))

    assert text_of(replies, 1) == "yz"
    assert model.cells[0][:9] == [ord("a"), ord("b"), -1, -1, -1, -1, -2, -2, ord("x")]
    assert finished(replies, 1).num_prompt_tokens == 2 + 4 + 6 + 1


def test_a_picture_that_is_in_the_cache_is_not_computed_again():
    model = AlphabetModel()
    engine = stepper(model)
    run(engine, sequence(1, with_pictures("ab", CAT, DOG, "x")))

    again = run(engine, sequence(2, with_pictures("ab", CAT, DOG, "wx")))
    run(engine, sequence(3, with_pictures("ab", DOG, CAT, "x")))

    assert model.seen == [-1, -2, -2, -1]
    assert finished(again, 2).num_cached_tokens == 2 + 4 + 6


def test_others_go_on_between_two_pictures():
    model = AlphabetModel()
    engine = stepper(model)
    engine.add(sequence(1, "a"))
    engine.step()
    engine.add(sequence(2, with_pictures(CAT, DOG, "x")))

    replies = [reply for _ in range(2) for reply in engine.step()]

    assert model.seen == [-1, -2]
    assert text_of(replies, 1) == "cd"


def test_a_sequence_that_is_cancelled_between_two_pictures_sees_no_more():
    model = AlphabetModel()
    engine = stepper(model)
    engine.add(sequence(1, with_pictures(CAT, DOG, "x")))
    engine.step()

    engine.cancel(1)

    assert engine.is_idle
    assert text_of(run(engine, sequence(2, with_pictures(CAT, "x"))), 2) == "yz"
    assert model.seen == [-1]


def test_a_picture_that_cannot_be_computed_fails_its_sequence_and_leaves_nothing_behind():
    model = AlphabetModel()
    engine = stepper(model)

    replies = run(engine, sequence(1, with_pictures("ab", Tile("broken", -3, 4, 4), "x")), sequence(2, "w"))

    assert [reply.request_id for reply in replies if isinstance(reply, Failed)] == [1]
    assert text_of(replies, 2) == "xyz"
    assert -3 not in [cell for cells in model.cells.values() for cell in cells]


def test_a_picture_for_which_there_is_no_room_waits_until_there_is():
    model = AlphabetModel(num_cells=14)
    engine = stepper(model)

    replies = run(engine, sequence(1, "rstuv"), sequence(2, with_pictures("ab", CAT, "x")))

    assert (text_of(replies, 1), text_of(replies, 2)) == ("wxyz", "yz")


def test_a_picture_larger_than_the_cache_fails_in_words():
    replies = run(stepper(AlphabetModel(num_cells=5)), sequence(1, with_pictures("ab", CAT, "x")))

    assert any(isinstance(reply, Failed) and "no room" in reply.error.message for reply in replies)


def test_what_was_used_last_is_the_first_to_be_kept_on_the_disk(tmp_path: Path):
    model = AlphabetModel()
    files = PrefixFiles(tmp_path / "prefixes", model_key="model", max_bytes=10_000)
    engine = Stepper(model, KVCache(2), EngineOptions(max_running=2), num_kv_tokens=model.num_cells, clock=model.clock, files=files)
    older, newer = "a" * 300, "b" * 300
    run(engine, sequence(1, older, max_tokens=1))
    run(engine, sequence(2, newer, max_tokens=1))

    assert engine.save_one()

    assert files.find(list(newer.encode())) == 256
    assert files.find(list(older.encode())) == 0
    assert engine.save_one()
    assert not engine.save_one()
