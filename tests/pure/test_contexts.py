"""What a stretch of a document is indexed with: the headings that it stands under and the file's name are found, and are no part of the text."""

from __future__ import annotations

from offline_assistants.file_search.contexts import MAX_HEADING_CHARS, embedded_text, indexed_chunks
from offline_assistants.ports import Chunk, ParsedDocument, Section

TEXT = "# Goats\nThey eat paper.\n# Llamas\nThey eat straw. They sleep in winter."
LLAMAS = TEXT.index("# Llamas")
DOCUMENT = ParsedDocument(TEXT, (Section(0, LLAMAS, heading="Goats"), Section(LLAMAS, len(TEXT), heading="Animals > Llamas")))


def test_a_window_inside_a_section_is_embedded_under_its_heading():
    start = TEXT.index("They sleep")

    assert embedded_text(DOCUMENT, start, len(TEXT)) == "Animals > Llamas\nThey sleep in winter."


def test_a_window_that_begins_with_its_heading_has_it_once():
    assert embedded_text(DOCUMENT, LLAMAS, len(TEXT)) == TEXT[LLAMAS:]


def test_a_document_without_headings_is_embedded_as_it_is():
    assert embedded_text(ParsedDocument(TEXT), 3, 20) == TEXT[3:20]
    assert embedded_text(ParsedDocument(TEXT, (Section(0, len(TEXT), page=1),)), 3, 20) == TEXT[3:20]


def test_of_a_long_heading_the_end_counts():
    document = ParsedDocument(TEXT, (Section(0, len(TEXT), heading="x" * 500 + " Llamas"),))

    assert embedded_text(document, 8, 20) == ("x" * 500 + " Llamas")[-MAX_HEADING_CHARS:] + "\n" + TEXT[8:20]


def test_a_chunk_is_found_by_its_words_its_headings_and_its_file_s_name():
    start = TEXT.index("They sleep")

    [chunk] = indexed_chunks(DOCUMENT, "Farm report 2031.md", [Chunk(start, len(TEXT), ((start, len(TEXT)),))])

    assert (chunk.chunk_index, chunk.start, chunk.end, chunk.windows) == (0, start, len(TEXT), ((start, len(TEXT)),))
    assert {"farm", "2031", "llama", "sleep", "wint"} <= set(chunk.terms.split())
    assert "goat" not in chunk.terms.split()
