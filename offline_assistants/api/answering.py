"""What the answers of chat completions and completions share. Decides nothing."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel

from offline_assistants import __version__
from offline_assistants.api.ignored_parameters import ignored_header
from offline_assistants.completions.generations import Said
from offline_assistants.ports import ModelInfo

MODEL_FILE_HEADER = "x-model-file"


def answer_headers(operation: str, body: BaseModel, model: ModelInfo) -> dict[str, str]:
    """Which file answers, and what had no effect. A header is Latin-1, and a file's name may be anything."""
    return {MODEL_FILE_HEADER: model.file_name.encode("ascii", "replace").decode("ascii"), **ignored_header(operation, body, model)}


def fingerprint(model: ModelInfo) -> str:
    """Changes with whatever may change the answer to a seed."""
    said = f"{__version__} {model.file_name} {model.size_bytes} {model.created_at}"
    return "fp_" + hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:10]


async def read_to_the_end(batches: AsyncGenerator[list[Said]], take: Callable[[Sequence[Said]], Any]) -> None:
    async with aclosing(batches):
        async for batch in batches:
            take(batch)
