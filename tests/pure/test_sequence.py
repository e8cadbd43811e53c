"""One generation by itself: an echo, and the likelihoods of tokens beside the text that they bring."""

from __future__ import annotations

import numpy as np

from offline_assistants.engine.detokenizer import StopStrings
from offline_assistants.engine.sampler import Sampler
from offline_assistants.engine.sequence import Sequence
from offline_assistants.engine.sight import PromptTokens
from offline_assistants.ports import Delta, Finished, SamplingParams, TextDelta, TokenLogprob

PIECES = [b"", "ü".encode()[:1], "ü".encode()[1:], b"a", b"END", b"EN"]


def sequence(*, max_tokens: int = 10, stop: str = "", echo: str = "") -> Sequence:
    return Sequence(
        1,
        prompt=PromptTokens([3]),
        max_tokens=max_tokens,
        piece=PIECES.__getitem__,
        end_tokens=frozenset({0}),
        sampler=Sampler(SamplingParams(temperature=0), np.random.default_rng(1)),
        stops=StopStrings((stop,)),
        echo=echo,
        logprob=lambda logits, token: TokenLogprob(PIECES[token], float(logits[token])),
    )


def say(generation: Sequence, *tokens: int) -> list[Delta]:
    deltas = generation.begin()
    for token in tokens:
        deltas += generation.take_logits(np.eye(len(PIECES), dtype=np.float32)[token])
    return deltas


def likely(deltas: list[Delta]) -> list[tuple[str, list[bytes]]]:
    return [(delta.text, [each.token for each in delta.logprobs]) for delta in deltas if isinstance(delta, TextDelta)]


def test_the_tokens_of_one_character_come_with_it() -> None:
    assert likely(say(sequence(), 3, 1, 2, 0)) == [("a", [b"a"]), ("ü", [b"\xc3", b"\xbc"])]


def test_an_answer_that_ends_within_a_character_still_names_its_tokens() -> None:
    assert likely(say(sequence(max_tokens=2), 3, 1)) == [("a", [b"a"]), ("", [b"\xc3"])]


def test_a_stop_string_is_not_named() -> None:
    assert likely(say(sequence(stop="END"), 3, 4)) == [("a", [b"a"])]


def test_what_was_held_back_for_a_stop_string_comes_with_what_follows() -> None:
    assert likely(say(sequence(stop="END"), 5, 3, 0)) == [("ENa", [b"EN", b"a"])]


def test_an_echo_is_said_first_and_counts_for_nothing() -> None:
    *deltas, last = say(sequence(echo="What?", max_tokens=0))

    assert deltas == [TextDelta("What?")]
    assert last == Finished("length", num_prompt_tokens=1, num_completion_tokens=0, num_cached_tokens=0)
