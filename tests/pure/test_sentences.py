"""Where sentences end, in documents and in answers."""

from __future__ import annotations

import pytest

from offline_assistants.domain.sentences import is_sentence_end, split_sentences


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It costs 3.5 million. Yes.", ["It costs 3.5 million.", "Yes."]),
        ("Dr. Smith met J. R. Jones, e.g. Tuesday. He left.", ["Dr. Smith met J. R. Jones, e.g. Tuesday.", "He left."]),
        ("See Fig. 3 and No. 7. The answer is no. However, it rains.", ["See Fig. 3 and No. 7.", "The answer is no.", "However, it rains."]),
        ("The U.S. Army came. It went.", ["The U.S. Army came.", "It went."]),
        ('He said: "Stop." Then he went.', ['He said: "Stop."', "Then he went."]),
        ("Apples, pears, etc. are fruit. So are plums, etc. Nuts are not.", ["Apples, pears, etc. are fruit.", "So are plums, etc.", "Nuts are not."]),
        ("Title\n\nFirst line\nsecond line. End", ["Title", "First line\nsecond line.", "End"]),
        ("# Title\nText of it\ngoes on. - x", ["# Title", "Text of it\ngoes on.", "- x"]),
        ("Two items\n- one\n- two\n3) three", ["Two items", "- one", "- two", "3) three"]),
        ("Heading\nA line as long as lines of a page usually are\nwith its end.", ["Heading", "A line as long as lines of a page usually are\nwith its end."]),
        ("It was founded by\nClara Brandt, who lived in\nBasel.", ["It was founded by\nClara Brandt, who lived in\nBasel."]),
        ("1. First item. 2. Second item.", ["1. First item.", "2. Second item."]),
        ("Wait... what? Yes.", ["Wait... what?", "Yes."]),
        ("今日は晴れです。明日は雨でしょう！本当？はい。", ["今日は晴れです。", "明日は雨でしょう！", "本当？", "はい。"]),
        ("「行く。」と言った。", ["「行く。」", "と言った。"]),
        ("Das ist z.B. Obst. Es schmeckt.", ["Das ist z.B. Obst.", "Es schmeckt."]),
        ("", []),
        (" \n\n ", []),
        ("no end", ["no end"]),
    ],
)
def test_a_text_is_split_into_its_sentences(text: str, parts: list[str]):
    assert sentences(text) == parts


@pytest.mark.parametrize(
    ("text", "following", "ends"),
    [("It is done.", "N", True), ("It is done.", "n", False), ("It is done.", "", True), ("It is done", "N", False), ("at 3.", "5", True), ("Mr.", "S", False)],
)
def test_the_next_visible_character_decides(text: str, following: str, ends: bool):
    assert is_sentence_end(text, following) is ends


def test_every_visible_character_is_in_exactly_one_sentence():
    text = "A b. C d!\n\nE (f.) G... h? I.\n\n\n- j\n k. 1. L"

    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


def test_a_large_text_is_split_in_linear_time():
    assert len(split_sentences("A sentence of some words. " * 10_000)) == 10_000
    assert len(split_sentences("no stop " * 100_000)) == 1
    assert len(split_sentences("\n" * 100_000)) == 0
