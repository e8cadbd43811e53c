"""The scheduler: one subtraction, decode first, fair shares."""

from __future__ import annotations

from dataclasses import dataclass, field

from offline_assistants.engine.scheduler import Batch, schedule


@dataclass
class Waiting:
    slot_id: int
    tokens: list[int] = field(default_factory=list)
    num_computed_tokens: int = 0
    picture_at: int | None = None

    @property
    def words_end(self) -> int:
        return len(self.tokens) if self.picture_at is None else self.picture_at


def sequence(slot_id: int, *, num_tokens: int, num_computed: int = 0) -> Waiting:
    return Waiting(slot_id, list(range(num_tokens)), num_computed)


def step(*running: Waiting, limit: int = 100, beside_decode: int = 10) -> Batch:
    return schedule(running, max_step_tokens=limit, max_step_tokens_beside_decode=beside_decode)


def sizes(batch: Batch) -> dict[int, int]:
    return {item.slot_id: len(item.tokens) for item in batch}


def test_a_short_prompt_is_given_whole_and_its_last_token_wants_logits():
    (item,) = step(sequence(0, num_tokens=5))

    assert (item.tokens, item.position, item.wants_logits) == ((0, 1, 2, 3, 4), 0, True)


def test_what_is_cached_is_not_given_again():
    (item,) = step(sequence(0, num_tokens=5, num_computed=3))

    assert (item.tokens, item.position) == ((3, 4), 3)


def test_a_long_prompt_is_given_in_chunks_and_only_the_last_wants_logits():
    prompt = sequence(0, num_tokens=250)
    chunks = []
    while prompt.num_computed_tokens < 250:
        (item,) = step(prompt)
        chunks.append((len(item.tokens), item.wants_logits))
        prompt.num_computed_tokens += len(item.tokens)

    assert chunks == [(100, False), (100, False), (50, True)]


def test_a_prompt_beside_an_answer_gets_a_small_chunk_and_the_answer_its_token():
    batch = step(sequence(0, num_tokens=500), sequence(1, num_tokens=8, num_computed=7))

    assert sizes(batch) == {1: 1, 0: 10}
    assert batch[0].slot_id == 1


def test_prompts_share_equally_and_a_short_one_leaves_the_rest_to_the_long():
    batch = step(sequence(0, num_tokens=500), sequence(1, num_tokens=20), sequence(2, num_tokens=500))

    assert sizes(batch) == {1: 20, 0: 40, 2: 40}


def test_every_prompt_moves_even_when_there_are_more_of_them_than_tokens():
    batch = step(*(sequence(slot_id, num_tokens=50) for slot_id in range(20)), sequence(99, num_tokens=2, num_computed=1))

    assert all(size >= 1 for size in sizes(batch).values())
    assert len(batch) == 21


def test_nothing_running_is_an_empty_batch():
    assert step() == ()


def test_words_before_a_picture_are_given_up_to_it_and_want_no_logits():
    waiting = sequence(0, num_tokens=9)
    waiting.picture_at = 4

    (item,) = step(waiting)

    assert (item.tokens, item.wants_logits) == ((0, 1, 2, 3), False)


def test_a_sequence_that_waits_for_its_picture_gets_nothing():
    waiting = sequence(0, num_tokens=9, num_computed=4)
    waiting.picture_at = 4

    assert sizes(step(waiting, sequence(1, num_tokens=3))) == {1: 3}
    assert step(waiting) == ()
