"""Which turns of a thread are kept."""

from __future__ import annotations

import pytest

from offline_assistants.domain.prompt import Counted, fit
from offline_assistants.runs.prompts import shortened


def turns(*sizes: int, required: tuple[int, ...] = ()) -> list[Counted]:
    return [Counted(size, is_required=index in required) for index, size in enumerate(sizes)]


def test_what_fits_is_kept_whole() -> None:
    assert fit(turns(10, 10, 10), 30) == [0, 1, 2]


def test_the_middle_is_dropped_first() -> None:
    assert fit(turns(5, 10, 10, 10, 10, required=(4,)), 40) == [0, 2, 3, 4]


def test_an_opening_that_takes_too_much_goes_too() -> None:
    assert fit(turns(20, 10, 10, 10, required=(3,)), 30) == [1, 2, 3]


def test_the_first_of_the_turns_is_no_opening_when_older_ones_were_not_read() -> None:
    assert fit(turns(5, 10, 10, 10, 10, required=(4,)), 40, has_opening=False) == [1, 2, 3, 4]


def test_nothing_older_is_kept_behind_a_gap() -> None:
    assert fit(turns(1, 1, 50, 10, required=(3,)), 30, has_opening=False) == [3]


def test_a_required_turn_far_back_is_kept() -> None:
    assert fit(turns(10, 30, 30, 30, required=(0,)), 75) == [0, 2, 3]


def test_required_turns_that_are_too_many_are_refused() -> None:
    assert fit(turns(10, 10, 10, required=(1, 2)), 19) is None


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_shortened_text_says_how_much_is_missing(share: float) -> None:
    text = "".join(str(number % 10) for number in range(1000))

    short = shortened(text, share)

    kept = int(1000 * share)
    assert short == text if share == 1.0 else f"[... {1000 - kept} characters left out ...]" in short
    assert short.startswith(text[: kept // 2])
    assert short.endswith(text[1000 - (kept - kept // 2) :])
