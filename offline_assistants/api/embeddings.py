"""/v1/embeddings, over the model that file search embeds with."""

from __future__ import annotations

import base64
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
    if body.dimensions not in (None, num_dimensions):
        raise RequestError(
            f"Invalid 'dimensions': the model {model.model_id} has {num_dimensions} and was not trained to be cut. Leave 'dimensions' out.", param="dimensions"
        )
    data = [{"object": "embedding", "index": index, "embedding": _shown(vector, body)} for index, vector in enumerate(embedded.vectors)]
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


def _shown(vector: Sequence[float], body: CreateEmbedding) -> list[float] | str:
    """Numbers, or the same as little-endian float32 in base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii") if body.encoding_format == "base64" else list(vector)
