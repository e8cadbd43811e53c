"""/v1/embeddings, over the model that file search embeds with."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from offline_assistants.api.answering import answer_headers
from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.api.chat_requests import CreateEmbedding
from offline_assistants.api.data_stream import unless_client_leaves
from offline_assistants.api.parts import PartsDep
from offline_assistants.completions.embedding import embed_texts
from offline_assistants.errors import RequestError

router = APIRouter(prefix="/v1/embeddings", route_class=CheckedRoute)


@router.post("", response_model=None)
async def create_embedding(body: CreateEmbedding, request: Request, parts: PartsDep) -> Response:
    model = await parts.find_embedder(body.model)
    embedded = await unless_client_leaves(request, embed_texts(parts.documents, _texts(body)))
    num_dimensions = len(embedded.vectors[0])
    if body.dimensions is not None and body.dimensions > num_dimensions:
        raise RequestError(
            f"Invalid 'dimensions': the model {model.model_id} has {num_dimensions}. Ask for {num_dimensions} or fewer, or leave 'dimensions' out.",
            param="dimensions",
        )
    shown = _as_numbers if body.encoding_format != "base64" or _takes_numbers(request) else _as_base64
    data = [{"object": "embedding", "index": index, "embedding": shown(_cut(vector, body.dimensions))} for index, vector in enumerate(embedded.vectors)]
    usage = {"prompt_tokens": embedded.num_tokens, "total_tokens": embedded.num_tokens}
    content: dict[str, Any] = {"object": "list", "data": data, "model": body.model, "usage": usage, "x_model_file": model.file_name}
    return JSONResponse(content, headers=answer_headers("createEmbedding", body, model))


def _texts(body: CreateEmbedding) -> list[str]:
    if isinstance(body.input, str):
        return [body.input]
    if not isinstance(body.input[0], str):
        raise RequestError(
            "Invalid 'input': arrays of tokens are not supported, because the ids belong to another tokenizer than this model's. Send the text.", param="input"
        )
    return cast("list[str]", body.input)


def _cut(vector: Sequence[float], dimensions: int | None) -> Sequence[float]:
    """The first `dimensions` numbers, of length 1 again. A model that was not trained for it finds less with them."""
    if dimensions is None or dimensions == len(vector):
        return vector
    head = vector[:dimensions]
    length = math.hypot(*head)
    return [value / length for value in head] if length else head


def _takes_numbers(request: Request) -> bool:
    """The Python SDK asks for base64 of its own accord, to save bytes. It takes numbers as well, and its strict validation takes nothing else."""
    return request.headers.get("x-stainless-lang") == "python"


def _as_numbers(vector: Sequence[float]) -> list[float]:
    return list(vector)


def _as_base64(vector: Sequence[float]) -> str:
    """Little-endian float32."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
