"""The Documents port on this machine: a parser process per file, one embedder process for all."""

from __future__ import annotations

import asyncio
import hashlib
import re
from array import array
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from offline_assistants.documents.chunking import chunk_tokens
from offline_assistants.documents.embedder_process import EmbedderProcess
from offline_assistants.documents.parser_process import ParserProcess
from offline_assistants.errors import SearchError
from offline_assistants.ports import Chunk, EmbeddingPurpose, ModelInfo, ParsedDocument

_PIECE_CHARS = 1 << 16
"""Texts are tokenized in pieces of about this size, so that a question never waits for a whole book."""
_MODEL_SUFFIXES = frozenset({".json", ".safetensors", ".bin", ".txt"})
"""What a sentence-transformers folder's vectors depend on."""
_BLANK = re.compile(r"\s")


class LocalDocuments:
    """Parses in child processes (formats/), embeds with a sentence-transformers model in `model_dir`.

    Nothing is started before it is needed; `warm` starts the embedder early. Use as an async context manager, in one event loop.
    """

    def __init__(
        self,
        model_dir: Path,
        *,
        model_id: str = "embedder",
        num_threads: int = 2,
        max_parsers: int = 2,
        parser_memory_bytes: int = 1 << 30,
        parser_timeout_s: float = 120.0,
        max_text_chars: int = 20_000_000,
        ocr_languages: str = "",
        embedder_start_timeout_s: float = 120.0,
        embedder_timeout_s: float = 120.0,
    ) -> None:
        """`model_id`: what the model is called. `max_text_chars`: the contract's five million tokens, at four characters each."""
        self._model_dir = model_dir
        self._model_id = model_id
        self._model_name: str | None = None
        self._parser = ParserProcess(
            memory_bytes=parser_memory_bytes,
            timeout_s=parser_timeout_s,
            max_text_chars=max_text_chars,
            max_processes=max_parsers,
            ocr_languages=ocr_languages,
        )
        self._embedder = EmbedderProcess(model_dir, num_threads=num_threads, start_timeout_s=embedder_start_timeout_s, request_timeout_s=embedder_timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """End the embedder. Parsers end with the calls that wait for them."""
        await self._embedder.close()

    async def warm(self) -> None:
        """Load the embedding model now; returns when it is there. Raises SearchError."""
        await self._embedder.warm()

    async def model_name(self) -> str:
        """The folder's name and a digest of its files; the first call reads them all. Raises SearchError."""
        if self._model_name is None:
            self._model_name = await asyncio.to_thread(_name_of, self._model_dir)
        return self._model_name

    async def parse(self, filename: str, content: bytes) -> ParsedDocument:
        """Raises UnsupportedFile, InvalidFile, SearchError."""
        return await self._parser.parse(filename, content)

    async def chunk(self, text: str, *, max_chunk_size_tokens: int, chunk_overlap_tokens: int) -> list[Chunk]:
        """Chunks in order of `start`; tokens are the embedding model's. Raises SearchError."""
        borders = array("I")
        for start, end in _pieces(text):
            offsets = await self._embedder.tokenize(text[start:end])
            borders.extend(array("I", (start + offset for offset in offsets)))
        # Seconds for a book of millions of words: not on the event loop.
        return await asyncio.to_thread(_chunk, text, borders, max_chunk_size_tokens, chunk_overlap_tokens)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The embedding model's tokens of each text. Raises SearchError."""
        return [sum([len(await self._embedder.tokenize(text[start:end])) // 2 for start, end in _pieces(text)]) for text in texts]

    async def list_models(self) -> list[ModelInfo]:
        """The embedding model, if its folder holds one."""
        return await asyncio.to_thread(self._describe)

    def _describe(self) -> list[ModelInfo]:
        if not (self._model_dir / "modules.json").is_file():
            return []
        files = [path.stat() for path in self._model_dir.rglob("*") if path.is_file()]
        size_bytes, changed_at = sum(file.st_size for file in files), max(int(file.st_mtime) for file in files)
        return [ModelInfo(self._model_id, changed_at, size_bytes, is_loaded=False, context_tokens=None, file_name=self._model_dir.name, is_packaged=True)]

    async def embed(self, texts: Sequence[str], *, purpose: EmbeddingPurpose = "text") -> list[list[float]]:
        """One vector of length 1 for each text; queries go before all that is waiting. Raises SearchError."""
        return await self._embedder.embed(texts, purpose)


def _name_of(model_dir: Path) -> str:
    digest = hashlib.sha256()
    try:
        for path in sorted(path for path in model_dir.rglob("*") if path.suffix in _MODEL_SUFFIXES):
            digest.update(path.relative_to(model_dir).as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise SearchError(f"The embedding model in {model_dir} could not be read: {error.strerror}. scripts/setup installs the starter models.") from error
    return f"{model_dir.name}-{digest.hexdigest()[:16]}"


def _chunk(text: str, borders: array[int], max_chunk_size_tokens: int, chunk_overlap_tokens: int) -> list[Chunk]:
    tokens = list(zip(borders[::2], borders[1::2], strict=True))
    return chunk_tokens(text, tokens, max_chunk_size_tokens=max_chunk_size_tokens, chunk_overlap_tokens=chunk_overlap_tokens)


def _pieces(text: str) -> list[tuple[int, int]]:
    """Stretches that together are `text`, cut at blanks where there are any: a token never crosses one."""
    borders = [0]
    while len(text) - borders[-1] > _PIECE_CHARS:
        blank = _BLANK.search(text, borders[-1] + _PIECE_CHARS, borders[-1] + 2 * _PIECE_CHARS)
        borders.append(blank.start() if blank else borders[-1] + _PIECE_CHARS)
    return [*pairwise([*borders, len(text)])]
