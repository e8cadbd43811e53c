"""How large the pieces of a prompt are beside answers: as large as nobody notices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_assistants.engine.pace import MAX_STEP_S, MAX_STRETCH, MIN_PROMPT_TOKENS, Pace, chunk_size


def settled(*, decode_s: float, prompt_token_s: float) -> int:
    """The size of a piece after a while on a machine that is as fast as this."""
    pace = Pace()
    for _ in range(30):
        pace.observe(num_decoding=1, num_prompt_tokens=0, duration_s=decode_s)
        size = pace.num_prompt_tokens
        pace.observe(num_decoding=1, num_prompt_tokens=size, duration_s=decode_s + size * prompt_token_s)
    return pace.num_prompt_tokens


def test_a_step_stays_a_few_times_as_long_as_one_without_a_prompt():
    size = settled(decode_s=0.010, prompt_token_s=0.002)

    assert 0.010 + size * 0.002 == pytest.approx(MAX_STRETCH * 0.010, abs=0.003)


def test_a_step_of_a_large_model_stays_within_the_limit():
    size = settled(decode_s=0.150, prompt_token_s=0.005)

    assert 0.150 + size * 0.005 == pytest.approx(MAX_STEP_S, abs=0.021)


def test_a_model_that_is_too_slow_for_the_limit_still_moves():
    assert 1 <= settled(decode_s=0.400, prompt_token_s=0.050) <= MIN_PROMPT_TOKENS


def test_where_a_prompt_token_costs_as_much_as_a_step_there_are_few_in_one():
    assert settled(decode_s=0.010, prompt_token_s=0.010) <= MAX_STRETCH


def test_a_machine_that_was_slow_for_a_moment_gets_its_pieces_back():
    pace = Pace()
    pace.observe(num_decoding=1, num_prompt_tokens=0, duration_s=0.010)
    pace.observe(num_decoding=1, num_prompt_tokens=MIN_PROMPT_TOKENS, duration_s=2.0)
    assert pace.num_prompt_tokens < MIN_PROMPT_TOKENS

    for _ in range(60):
        size = pace.num_prompt_tokens
        pace.observe(num_decoding=1, num_prompt_tokens=size, duration_s=0.010 + size * 0.002)

    assert pace.num_prompt_tokens > 5 * MIN_PROMPT_TOKENS


def test_the_first_piece_is_small_because_nobody_knows_yet():
    assert Pace().num_prompt_tokens == 32


def test_a_machine_that_gets_busy_gets_smaller_pieces():
    pace = Pace()
    pace.observe(num_decoding=0, num_prompt_tokens=100, duration_s=0.2)
    quiet = pace.num_prompt_tokens

    for _ in range(10):
        pace.observe(num_decoding=0, num_prompt_tokens=100, duration_s=0.8)

    assert pace.num_prompt_tokens < quiet / 3


seconds = st.floats(1e-9, 1e3)


@given(decode_s=seconds, prompt_token_s=seconds)
def test_a_piece_is_never_empty(decode_s: float, prompt_token_s: float):
    assert chunk_size(decode_s=decode_s, prompt_token_s=prompt_token_s, max_step_s=MAX_STEP_S) >= 1
