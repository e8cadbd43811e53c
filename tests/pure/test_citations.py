"""Citations: what a passage says is cited with its words, what it does not say is not, and the text flows on meanwhile."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from offline_assistants.domain.objects import FileCitationAnnotation
from offline_assistants.file_search.citations import Citation, CitationWriter, Piece, TextPiece
from offline_assistants.file_search.passages import Passage
from offline_assistants.ports import Section

WARRANTY = """Orion Watches Ltd. warranty

The Orion X200 watch has a warranty of 36 months from the date of purchase. Water damage is not covered by the warranty. Batteries are covered for 6 months only.

To make a claim, send the watch with its receipt to the service centre in Bern, Switzerland. Repairs take 10 working days on average. Shipping back is free."""  # noqa: E501
HISTORY = """The company was founded in 1911 by Clara Brandt, a watchmaker from Basel. Her first workshop had five employees.
In 1968 Orion moved its headquarters to Geneva. Today 1,240 people work for the company. The revenue in 2023 was 87.5 million francs."""

PASSAGES = [
    Passage(0, 0, "file-a", "warranty.pdf", WARRANTY, 1000, sections=(Section(0, 1120, page=3), Section(1120, 2000, page=4))),
    Passage(0, 1, "file-b", "history.md", HISTORY, 0),
]
ANSWER = """# Orion's warranty

The Orion X200 has a 36-month warranty. Is water damage covered? No, water damage is not covered by the warranty. Repairs take about 10 working days.

- Batteries are covered for 6 months
1. Send the watch with its receipt to the service centre in Bern 【0:0†source】.

```python
# The Orion X200 watch has a warranty of 36 months.
x = 3.5
```
Clara Brandt founded the company in 1911. I hope this helps!"""


def pieces_of(text: str, passages: list[Passage]) -> list[Piece]:
    writer = CitationWriter(passages)
    return [*writer.feed(text), *writer.finish()]


def joined(pieces: list[Piece]) -> tuple[str, list[FileCitationAnnotation]]:
    """A message's text with its markers, and an annotation for each."""
    text = ""
    annotations: list[FileCitationAnnotation] = []
    for piece in pieces:
        if isinstance(piece, Citation):
            annotations.append(piece.annotation(len(text)))
        text += piece.marker if isinstance(piece, Citation) else piece.text
    return text, annotations


def citations(text: str, passages: list[Passage] = PASSAGES) -> list[Citation]:
    return [piece for piece in pieces_of(text, passages) if isinstance(piece, Citation)]


@pytest.mark.parametrize(
    ("sentence", "quote"),
    [
        ("The Orion X200 has a warranty of 36 months.", "The Orion X200 watch has a warranty of 36 months from the date of purchase."),
        ("Water damage isn't covered by the warranty.", "Water damage is not covered by the warranty."),
        ("Repairs take ten working days on average.", "Repairs take 10 working days on average."),
        ("The company was founded by Clara Brandt in 1911.", "The company was founded in 1911 by Clara Brandt, a watchmaker from Basel."),
        ("Orion's headquarters moved to Geneva in 1968", "In 1968 Orion moved its headquarters to Geneva."),
        ("1240 people work at the company today.", "Today 1,240 people work for the company."),
        ("In 2023 the REVENUE was 87.50 million francs.", "The revenue in 2023 was 87.5 million francs."),
    ],
)
def test_a_supported_sentence_is_cited_with_the_words_that_support_it(sentence: str, quote: str):
    (found,) = citations(sentence)

    assert found.quote == quote
    assert found.passage.text[found.quote_start - found.passage.start_index :].startswith(quote)


@pytest.mark.parametrize(
    "sentence",
    [
        "The Orion X200 has a warranty of 24 months.",
        "Water damage is covered by the warranty.",
        "The watch was designed in Milan by Max Bill.",
        "Clara Brandt was born in Vienna.",
        "The capital of Switzerland is Bern.",
        "I hope this helps!",
        "Let me know if you have any other questions.",
        "Here is what the warranty says:",
        "How long is the warranty of the Orion X200 watch?",
        "# The Orion X200 watch has a warranty of 36 months",
        "**Water damage is not covered by the warranty**",
        "| Orion X200 watch | warranty of 36 months from the date of purchase |",
        "```\nThe Orion X200 watch has a warranty of 36 months.\n```",
        "~~~\nThe Orion X200 watch has a warranty of 36 months.",
        "Yes.",
        "",
    ],
)
def test_what_no_passage_says_is_not_cited(sentence: str):
    assert citations(sentence) == []


def test_markers_stand_right_after_the_sentence():
    text, annotations = joined(pieces_of(ANSWER, PASSAGES))

    assert text == ANSWER.replace("warranty. Is", "warranty.【0:0†source】 Is").replace("warranty. Repairs", "warranty.【0:0†source】 Repairs").replace(
        "working days.", "working days.【0:0†source】"
    ).replace("6 months\n", "6 months【0:0†source】\n").replace("Bern 【0:0†source】.", "Bern.【0:0†source】").replace("in 1911.", "in 1911.【0:1†source】")
    assert [text[one.start_index : one.end_index] for one in annotations] == [one.text for one in annotations]
    assert all(one.file_citation.quote for one in annotations)


@pytest.mark.parametrize("seed", range(60))
def test_the_pieces_in_which_text_comes_make_no_difference(seed: int):
    numbers = random.Random(seed)
    writer = CitationWriter(PASSAGES)
    pieces: list[Piece] = []
    position = 0
    while position < len(ANSWER):
        length = numbers.choice([1, 1, 2, 3, 7, 40])
        pieces += writer.feed(ANSWER[position : position + length])
        position += length

    pieces += writer.finish()

    assert joined(pieces) == joined(pieces_of(ANSWER, PASSAGES))


@pytest.mark.parametrize(
    "text", ["", "\n", "  a  b \n\n c. \n", "x【y", "【", "a 【1】 b", "```", "1.", "* ", "a\n`b`\n-c\n12 d", "a\r\n\r\nb.\tc", "。。。", "—🙂\n"]
)
def test_text_that_is_not_cited_comes_back_unchanged(text: str):
    assert joined(pieces_of(text, PASSAGES)) == (text, [])


def test_text_flows_but_for_a_last_blank():
    writer = CitationWriter(PASSAGES)

    shown = ["".join(piece.text for piece in writer.feed(piece) if isinstance(piece, TextPiece)) for piece in ["It", " costs", " 3", ".", "5 ", "francs", ". "]]

    assert shown == ["It", " costs", " 3", ".", "5", " francs", "."]


def test_a_citation_comes_as_soon_as_its_sentence_is_known_to_have_ended():
    writer = CitationWriter(PASSAGES)
    writer.feed("Water damage is not covered by the warranty. ")

    pieces = writer.feed("B")

    assert isinstance(pieces[0], Citation)
    assert pieces[1:] == [TextPiece(" B")]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("See it 【4:0†source】.", "See it."),
        ("See it.【4:0†source】 Now", "See it. Now"),
        ("See it.【4:0†source】【4:1†a.pdf】\nNow", "See it.\nNow"),
        ("See 【4:0†source】 it", "See it"),
        ("See【4:0†source】", "See"),
        ("【4:0†source】See", "See"),
        ("A 【note】 stays", "A 【note】 stays"),
    ],
)
def test_markers_that_the_model_wrote_are_taken_out(written: str, shown: str):
    letter_by_letter = CitationWriter([])
    pieces = [piece for letter in written for piece in letter_by_letter.feed(letter)] + letter_by_letter.finish()

    assert joined(pieces) == joined(pieces_of(written, [])) == (shown, [])


def test_a_sentence_made_of_two_has_two_citations():
    text = "Repairs of a watch take 10 working days on average; Clara Brandt, a watchmaker from Basel, founded the company in 1911."

    assert [found.marker for found in citations(text)] == ["【0:0†source】", "【0:1†source】"]


def test_the_page_is_that_of_the_quote():
    assert [found.page for found in citations("The Orion X200 watch has a warranty of 36 months. Repairs take 10 working days on average.")] == [3, 4]
    assert citations("Clara Brandt founded the company in 1911.")[0].page is None


def test_an_annotation_is_what_a_client_expects():
    (found,) = citations("Repairs take 10 working days on average.")

    annotation = found.annotation(40)

    assert (annotation.text, annotation.start_index, annotation.end_index) == ("【0:0†source】", 40, 52)
    assert annotation.file_citation.model_dump() == {
        "file_id": "file-a",
        "file_name": "warranty.pdf",
        "quote": "Repairs take 10 working days on average.",
        "page": 4,
        "start_char": 1000 + WARRANTY.index("Repairs"),
        "end_char": 1000 + WARRANTY.index("Repairs") + len("Repairs take 10 working days on average."),
    }


def test_in_a_presentation_the_page_is_a_slide():
    slides = replace(PASSAGES[0], file_name="Warranty.PPTX")

    (found,) = citations("Repairs take 10 working days on average.", [slides])

    assert (found.annotation(0).file_citation.slide, found.annotation(0).file_citation.page) == (4, None)


def test_of_two_passages_that_say_the_same_the_first_is_cited():
    twin = Passage(1, 0, "file-c", "copy.pdf", WARRANTY, 0)

    assert [found.marker for found in citations("Repairs take 10 working days on average.", [PASSAGES[0], twin])] == ["【0:0†source】"]


def test_a_quote_is_never_long():
    table = Passage(0, 0, "file-t", "table.txt", "\n".join(f"| row {number} | amount {number * 37} francs | paid in cash |" for number in range(300)), 0)

    (found,) = citations("Row 211 has an amount of 7807 francs.", [table])

    assert len(found.quote) <= 300
    assert "7807" in found.quote


def test_an_answer_in_japanese_is_cited():
    passage = Passage(0, 0, "file-j", "j.txt", "保証期間は購入日から三十六か月です。水による損傷は保証の対象外です。修理には平均十日かかります。", 0)

    found = [one.quote for one in citations("水による損傷は保証の対象外です。天気は晴れです。", [passage])]

    assert found == ["水による損傷は保証の対象外です。"]


def test_without_passages_nothing_is_cited():
    assert joined(pieces_of(ANSWER, [])) == (ANSWER.replace(" 【0:0†source】", ""), [])
