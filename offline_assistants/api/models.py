"""/v1/models"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.api.parts import PartsDep
from offline_assistants.ports import ModelInfo

router = APIRouter(prefix="/v1/models", route_class=CheckedRoute)


def wire(model: ModelInfo) -> dict[str, Any]:
    """The API's model; size, state and context are extensions."""
    return {
        "id": model.model_id,
        "object": "model",
        "created": model.created_at,
        "owned_by": "offline-assistants",
        "size_bytes": model.size_bytes,
        "is_loaded": model.is_loaded,
        "context_tokens": model.context_tokens,
    }


@router.get("")
async def list_models(parts: PartsDep) -> dict[str, Any]:
    return {"object": "list", "data": [wire(model) for model in await parts.engines.list_models()]}


@router.get("/{model:path}")
async def retrieve_model(model: str, parts: PartsDep) -> dict[str, Any]:
    await parts.check_model(model)
    return next(wire(each) for each in await parts.engines.list_models() if each.model_id == model)
