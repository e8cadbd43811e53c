"""/v1/models"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.api.parts import Parts, PartsDep, deleted
from offline_assistants.domain.objects import DEFAULT_PROJECT
from offline_assistants.errors import ModelNotFound, NotAllowed, RequestError
from offline_assistants.ports import ModelInfo

router = APIRouter(prefix="/v1/models", route_class=CheckedRoute)
CHAT, EMBEDDING = "chat", "embedding"


def wire(model: ModelInfo, kind: str, *, name: str | None = None) -> dict[str, Any]:
    """The API's model under the name it was asked for; all from `kind` on are extensions."""
    return {
        "id": name or model.model_id,
        "object": "model",
        "created": model.created_at,
        "owned_by": "offline-assistants",
        "kind": kind,
        "x_model_file": model.file_name,
        "size_bytes": model.size_bytes,
        "is_loaded": model.is_loaded,
        "context_tokens": model.context_tokens,
        "state": "damaged" if model.is_damaged else "loaded" if model.is_loaded else "ready",
        "problem": model.problem,
        "architecture": model.architecture,
        "quantization": model.quantization,
        "memory_bytes": model.memory_bytes,
        "sees_pictures": model.has_projector or model.picture_tokens is not None,
    }


@router.get("")
async def list_models(parts: PartsDep) -> dict[str, Any]:
    """Chat models first, so that who takes the first one can chat with it."""
    chat, embedding = await parts.engines.list_models(), await parts.documents.list_models()
    return {"object": "list", "data": [*(wire(model, CHAT) for model in chat), *(wire(model, EMBEDDING) for model in embedding)]}


@router.get("/{model:path}")
async def retrieve_model(model: str, parts: PartsDep) -> dict[str, Any]:
    """Also by a name that stands for it."""
    embedder = await _embedder(parts, model)
    return wire(embedder, EMBEDDING, name=model) if embedder else wire(await parts.engines.find(model), CHAT, name=model)


@router.delete("/{model:path}")
async def delete_model(model: str, parts: PartsDep) -> dict[str, Any]:
    """The file goes too, if it lies in the models folder; a link goes without what it leads to. All projects share the models, so only `default` deletes."""
    if parts.store.project != DEFAULT_PROJECT:
        raise NotAllowed(f"Models are shared by all projects, so only a key of the project '{DEFAULT_PROJECT}' may delete one.", param="model")
    if await _embedder(parts, model):
        raise RequestError("The embedding model is not deleted here: file search needs it. Uninstall its package, or delete its folder.", param="model")
    await parts.engines.remove(model)
    return deleted(model, "model")


async def _embedder(parts: Parts, model: str) -> ModelInfo | None:
    try:
        return await parts.find_embedder(model)
    except ModelNotFound:
        return None
