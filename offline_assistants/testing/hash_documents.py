"""HashDocuments: a Documents port without models or processes. Words are hashed into vectors, so texts that share words are near."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import PurePath

from offline_assistants.errors import InvalidFile, UnsupportedFile
from offline_assistants.ports import Chunk, EmbeddingPurpose, ModelInfo, ParsedDocument

_SUFFIXES = frozenset({".txt", ".md", ".py", ".html", ".json", ".pdf"})
_WINDOW_TOKENS = 128


class HashDocuments:
    """Deterministic. Reads UTF-8 text only; a token is what stands between blanks."""

    def __init__(self, *, dimensions: int = 384) -> None:
        self._dimensions = dimensions

    async def warm(self) -> None:
        """There is nothing to load."""

    async def model_name(self) -> str:
        return f"hash-{self._dimensions}"

    async def parse(self, filename: str, content: bytes) -> ParsedDocument:
        """Raises UnsupportedFile by the name's ending, InvalidFile when the content is not UTF-8 or is empty."""
        if PurePath(filename).suffix.lower() not in _SUFFIXES:
            raise UnsupportedFile
        if content.startswith(b"%PDF"):
            raise InvalidFile("HashDocuments reads no PDF.")
        try:
            text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError as error:
            raise InvalidFile("The file is not UTF-8.") from error
        if not text.strip():
            raise InvalidFile("The file is empty.")
        return ParsedDocument(text)

    async def chunk(self, text: str, *, max_chunk_size_tokens: int, chunk_overlap_tokens: int) -> list[Chunk]:
        """Chunks of so many words."""
        words = [found.span() for found in re.finditer(r"\S+", text)]
        step = max_chunk_size_tokens - chunk_overlap_tokens
        chunks: list[Chunk] = []
        for first in range(0, max(len(words) - chunk_overlap_tokens, min(len(words), 1)), step):
            inside = words[first : first + max_chunk_size_tokens]
            parts = [inside[start : start + _WINDOW_TOKENS] for start in range(0, len(inside), _WINDOW_TOKENS)]
            chunks.append(Chunk(inside[0][0], inside[-1][1], tuple((part[0][0], part[-1][1]) for part in parts)))
        return chunks

    async def embed(self, texts: Sequence[str], *, purpose: EmbeddingPurpose = "text") -> list[list[float]]:
        """Vectors of length 1, none of them with negative parts: no words in common, no similarity (but for chance)."""
        return [self._vector(text) for text in texts]

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def list_models(self) -> list[ModelInfo]:
        return [ModelInfo("hash-embedder", created_at=0, size_bytes=0, is_loaded=True, context_tokens=None, file_name="hash-embedder")]

    def _vector(self, text: str) -> list[float]:
        counts = [0.0] * self._dimensions
        for word in re.findall(r"\w+", text.casefold()) or [""]:
            counts[int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()) % self._dimensions] += 1
        length = math.hypot(*counts)
        return [count / length for count in counts]
