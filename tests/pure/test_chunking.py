"""Chunks of the size asked for, and windows inside them that an embedder can read."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from offline_assistants.documents.chunking import WINDOW_TOKENS, chunk_tokens
from offline_assistants.ports import Chunk

Span = tuple[int, int]


def words_of(text: str) -> list[Span]:
    return [found.span() for found in re.finditer(r"\w+|[^\w\s]", text)]


def prose(num_sentences: int, *, words: int = 11) -> str:
    """Sentences of `words` words and a period."""
    return " ".join(" ".join(f"W{number}x{word}" for word in range(words)) + "." for number in range(num_sentences))


def chunk(text: str, size: int = 800, overlap: int = 400) -> list[Chunk]:
    return chunk_tokens(text, words_of(text), max_chunk_size_tokens=size, chunk_overlap_tokens=overlap)


def num_tokens(text: str, start: int, end: int) -> int:
    return len(words_of(text[start:end]))


@pytest.mark.parametrize(("size", "overlap"), [(800, 400), (800, 0), (100, 50), (100, 0), (1000, 300), (4096, 2048), (300, 128), (257, 127)])
def test_chunks_have_the_size_and_the_overlap_asked_for(size: int, overlap: int):
    text = prose(700)
    starts = {start: index for index, (start, _) in enumerate(words_of(text))}

    chunks = chunk(text, size, overlap)

    assert all(num_tokens(text, one.start, one.end) == size for one in chunks[:-1])
    assert [starts[one.start] for one in chunks] == [index * (size - overlap) for index in range(len(chunks))]
    assert (chunks[0].start, chunks[-1].end) == (0, len(text))
    assert len(chunks) == 1 or num_tokens(text, chunks[-1].start, chunks[-1].end) > overlap


@pytest.mark.parametrize(("size", "overlap"), [(800, 400), (800, 0), (100, 50), (1000, 300), (300, 128), (257, 127)])
def test_windows_lie_in_their_chunk_and_together_hold_the_whole_text(size: int, overlap: int):
    text = prose(300)
    held = [False] * len(text)

    for one in chunk(text, size, overlap):
        assert one.windows
        for start, end in one.windows:
            assert one.start <= start < end <= one.end
            assert num_tokens(text, start, end) <= WINDOW_TOKENS
            held[start:end] = [True] * (end - start)

    assert all(held[position] for start, end in words_of(text) for position in range(start, end))


def test_windows_begin_and_end_with_sentences():
    text = prose(300)

    windows = {window for one in chunk(text) for window in one.windows}

    assert all(text[end - 1] == "." for _, end in windows)
    assert all(start == 0 or text[start - 2] == "." for start, _ in windows)


def test_windows_share_sentences_with_the_next():
    text = prose(100)

    windows = sorted({window for one in chunk(text) for window in one.windows})

    shared = [num_tokens(text, later[0], earlier[1]) for earlier, later in pairwise(windows)]
    assert set(shared) == {36}  # three sentences of twelve tokens: the most that forty has room for


def test_overlapping_chunks_share_their_windows():
    text = prose(400)

    chunks = chunk(text)

    assert len({window for one in chunks for window in one.windows}) < 0.7 * sum(len(one.windows) for one in chunks)


def test_a_sentence_longer_than_a_window_is_cut_with_overlap():
    text = prose(1, words=400)

    windows = chunk(text)[0].windows

    assert [num_tokens(text, start, end) for start, end in windows] == [128, 128, 128, 128, 49]
    assert windows[1][0] < windows[0][1]


def test_a_short_text_is_one_chunk_with_one_window():
    assert chunk("Just this.") == [Chunk(0, 10, ((0, 10),))]


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_a_text_without_tokens_has_no_chunks(text: str):
    assert chunk(text) == []


def test_blanks_around_the_text_are_in_no_chunk():
    one = chunk("\n\n  Hello there.  \n")[0]

    assert (one.start, one.end) == (4, 16)


def test_a_word_that_no_tokenizer_can_read_still_fills_chunks():
    text = "x" * 100_000  # one unknown token to a tokenizer

    chunks = chunk_tokens(text, [(0, len(text))], max_chunk_size_tokens=800, chunk_overlap_tokens=400)

    assert all(one.end - one.start <= 3200 for one in chunks)
    assert chunks[-1].end == len(text)


@pytest.mark.parametrize("overlap", [-1, 401])
def test_an_overlap_of_more_than_half_is_refused(overlap: int):
    with pytest.raises(ValueError, match="overlap"):
        chunk("Some text.", 800, overlap)
