"""Where chunks and the windows inside them begin and end. Knows nothing of tokenizers or models: it is given where tokens are.

A chunk is what the API promises: so many tokens, so many of them shared with the next. A window is what the embedder sees, which reads a hundred words and
no more. A chunk is as near to a question as its nearest window, which finds far more than the vector of a cut-off chunk does.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

from offline_assistants.domain.sentences import split_sentences
from offline_assistants.ports import Chunk

WINDOW_TOKENS = 128
WINDOW_OVERLAP_TOKENS = 40

_LONGEST_WORD_PIECE = 100
"""Beyond this many characters a tokenizer gives up on a word and calls all of it one unknown token, be it a megabyte of base64."""
_UNKNOWN_PIECE = 4
"""Characters that count as a token in such a word."""

Span = tuple[int, int]


def chunk_tokens(text: str, tokens: Sequence[Span], *, max_chunk_size_tokens: int, chunk_overlap_tokens: int) -> list[Chunk]:
    """Chunks of exactly the size and overlap asked for (the last is shorter), in order; none where there are no tokens.

    `tokens` are the tokens' stretches of `text`, ascending. Raises ValueError when the overlap is more than half of the size.
    """
    if not 0 <= chunk_overlap_tokens <= max_chunk_size_tokens // 2:
        raise ValueError(f"an overlap of {chunk_overlap_tokens} tokens is not between 0 and half of {max_chunk_size_tokens}")
    tokens = _split_unknown_words(tokens)
    chunks = _token_ranges(len(tokens), max_chunk_size_tokens, chunk_overlap_tokens)
    sentences = _sentence_ranges(text, tokens)
    if chunk_overlap_tokens >= WINDOW_TOKENS:
        # Every window lies whole in some chunk, so one row of windows serves them all, and a shared one is embedded once.
        windows = _pack(sentences)
        shared = [_inside(windows, start, end) for start, end in chunks]
    else:
        shared = [_pack(_clip(sentences, start, end)) for start, end in chunks]
    return [_chunk(tokens, span, windows) for span, windows in zip(chunks, shared, strict=True)]


def _chunk(tokens: Sequence[Span], span: Span, windows: Sequence[Span]) -> Chunk:
    start, end = _characters(tokens, span)
    return Chunk(start, end, tuple(_characters(tokens, window) for window in windows))


def _characters(tokens: Sequence[Span], span: Span) -> Span:
    first, beyond = span
    return tokens[first][0], tokens[beyond - 1][1]


def _split_unknown_words(tokens: Sequence[Span]) -> list[Span]:
    pieces: list[Span] = []
    for start, end in tokens:
        if end - start <= _LONGEST_WORD_PIECE:
            pieces.append((start, end))
        else:
            pieces += ((at, min(at + _UNKNOWN_PIECE, end)) for at in range(start, end, _UNKNOWN_PIECE))
    return pieces


def _token_ranges(num_tokens: int, size: int, overlap: int) -> list[Span]:
    """Ranges of `size` that advance by `size - overlap`, up to the first that reaches the end."""
    step = size - overlap
    num_ranges = max(1, -(-(num_tokens - overlap) // step)) if num_tokens else 0
    return [(index * step, min(index * step + size, num_tokens)) for index in range(num_ranges)]


def _sentence_ranges(text: str, tokens: Sequence[Span]) -> list[Span]:
    """The sentences of `text` in tokens; together they hold every token once."""
    starts = [start for start, _ in tokens]
    borders = [bisect_left(starts, start) for start, _ in split_sentences(text)]
    borders = sorted({0, *borders, len(tokens)})
    return [(start, end) for start, end in pairwise(borders) if start < end]


def _clip(sentences: Sequence[Span], start: int, end: int) -> list[Span]:
    first = max(0, bisect_right(sentences, start, key=lambda sentence: sentence[0]) - 1)
    beyond = bisect_left(sentences, end, key=lambda sentence: sentence[0])
    return [(max(start, left), min(end, right)) for left, right in sentences[first:beyond]]


def _pack(sentences: Sequence[Span]) -> list[Span]:
    """Windows of whole sentences, as many as fit, beginning with those of the window before that the overlap has room for."""
    windows: list[Span] = []
    first = 0  # the sentence that the next window begins with
    for index, (_, end) in enumerate(sentences):
        is_last = index + 1 == len(sentences)
        start = sentences[first][0]
        if not is_last and sentences[index + 1][1] - start <= WINDOW_TOKENS:
            continue
        windows += _cut(start, end)
        first = index + 1
        if is_last:
            break
        next_end = sentences[first][1]
        while first > 0 and end - sentences[first - 1][0] <= WINDOW_OVERLAP_TOKENS and next_end - sentences[first - 1][0] <= WINDOW_TOKENS:
            first -= 1
    return windows


def _cut(start: int, end: int) -> list[Span]:
    """A stretch that may be longer than a window, in windows."""
    step = WINDOW_TOKENS - WINDOW_OVERLAP_TOKENS
    num_windows = max(1, -(-(end - start - WINDOW_OVERLAP_TOKENS) // step))
    return [(start + index * step, min(start + index * step + WINDOW_TOKENS, end)) for index in range(num_windows)]


def _inside(windows: Sequence[Span], start: int, end: int) -> list[Span]:
    """The windows that lie whole in a chunk. Both their starts and their ends ascend."""
    first = bisect_left(windows, start, key=lambda window: window[0])
    beyond = bisect_right(windows, end, key=lambda window: window[1])
    return list(windows[first:beyond])
