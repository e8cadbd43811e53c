"""Whole characters only, and no piece of a stop string."""

from __future__ import annotations

import pytest

from offline_assistants.engine.detokenizer import Detokenizer, StopStrings, num_held_back


def test_a_character_comes_when_its_last_byte_does():
    detokenizer = Detokenizer()

    assert [detokenizer.feed(bytes([byte])) for byte in "🦜".encode()] == ["", "", "", "🦜"]


def test_bytes_that_are_no_text_become_replacement_characters():
    assert Detokenizer().feed(b"a\xffb") == "a\ufffdb"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_a_stop_string_never_leaks_however_the_text_is_divided(size: int):
    text = "one two STOP three"
    stops = StopStrings(["STOP", "three"])

    shown = "".join(stops.feed(text[i : i + size]) for i in range(0, len(text), size)) + stops.flush()

    assert shown == "one two "
    assert stops.is_stopped


def test_what_only_began_like_a_stop_string_is_shown_at_the_end():
    stops = StopStrings(["\n\nUser:"])

    assert stops.feed("Hello\n\nUs") + stops.flush() == "Hello\n\nUs"
    assert not stops.is_stopped


def test_the_earliest_of_several_stop_strings_wins():
    assert StopStrings(["c", "b"]).feed("abc") == "a"


def test_an_empty_stop_string_stops_nothing():
    assert StopStrings([""]).feed("abc") == "abc"


def test_the_longest_possible_beginning_is_held_back():
    assert [num_held_back(text, "aab") for text in ("xaa", "xa", "x", "aab", "")] == [2, 1, 0, 0, 0]
