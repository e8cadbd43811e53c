"""Texts of any length into vectors of length 1. Knows nothing of HTTP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from offline_assistants.errors import RequestError
from offline_assistants.ports import Documents

MAX_TOKENS = 8192
"""Of one text, as the hosted API has it."""
MAX_TOTAL_TOKENS = 300_000
"""Of one request."""
_BATCH = 64
"""Windows that are embedded at once, so that file search gets its turn in between."""


@dataclass(frozen=True, slots=True)
class Embedded:
    vectors: list[list[float]]
    num_tokens: int


async def embed_texts(documents: Documents, texts: Sequence[str]) -> Embedded:
    """A vector for each text. The model sees some hundred tokens at once, so a longer text is embedded window by window, and the mean is taken.

    Raises RequestError for an empty text and for texts beyond the limits, and SearchError.
    """
    counts = await _count(documents, texts)
    spans = [await _windows(documents, text) for text in texts]
    pieces = [text[start:end] for text, windows in zip(texts, spans, strict=True) for start, end in windows]
    vectors: list[list[float]] = []
    for start in range(0, len(pieces), _BATCH):
        vectors += await documents.embed(pieces[start : start + _BATCH])
    embedded: list[list[float]] = []
    for windows in spans:
        own, vectors = vectors[: len(windows)], vectors[len(windows) :]
        embedded.append(own[0] if len(own) == 1 else _mean(own, [end - start for start, end in windows]))
    return Embedded(embedded, sum(counts))


async def _count(documents: Documents, texts: Sequence[str]) -> list[int]:
    for i, text in enumerate(texts):
        if not text:
            raise RequestError("'input' cannot be an empty string.", param="input" if len(texts) == 1 else f"input[{i}]")
    counts = await documents.count_tokens(texts)
    for i, count in enumerate(counts):
        if count > MAX_TOKENS:
            raise RequestError(f"Invalid 'input[{i}]': the text has {count} tokens, and the most is {MAX_TOKENS}. Split it.", param="input")
    if sum(counts) > MAX_TOTAL_TOKENS:
        raise RequestError(f"Invalid 'input': the texts have {sum(counts)} tokens, and the most is {MAX_TOTAL_TOKENS}. Send fewer at a time.", param="input")
    return counts


async def _windows(documents: Documents, text: str) -> list[tuple[int, int]]:
    chunks = await documents.chunk(text, max_chunk_size_tokens=MAX_TOKENS, chunk_overlap_tokens=0)
    return [window for chunk in chunks for window in chunk.windows] or [(0, len(text))]


def _mean(vectors: Sequence[Sequence[float]], weights: Sequence[float]) -> list[float]:
    """Weighted, and of length 1 again."""
    total = [sum(weight * value for weight, value in zip(weights, column, strict=True)) for column in zip(*vectors, strict=True)]
    length = math.hypot(*total) or 1.0
    return [value / length for value in total]
