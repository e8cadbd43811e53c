"""/v1/assistants"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.api.ignored_parameters import ignored_header
from offline_assistants.api.parts import Parts, PartsDep, deleted, functions_of, page_of
from offline_assistants.api.requests import CreateAssistant, Limit, ModifyAssistant, Order
from offline_assistants.api.resources import plan_resources
from offline_assistants.domain.objects import Assistant
from offline_assistants.errors import NotFound, RequestError
from offline_assistants.ports import ModelInfo
from offline_assistants.store.changes import Delete, Exists, Put, Update

router = APIRouter(prefix="/v1/assistants", route_class=CheckedRoute)
_DEFAULTS: dict[str, Any] = {"tools": [], "metadata": {}, "response_format": "auto", "temperature": 1.0, "top_p": 1.0}


def unknown_assistant(assistant_id: str) -> NotFound:
    return NotFound(f"No assistant found with id '{assistant_id}'.")


async def get_assistant(parts: Parts, assistant_id: str) -> Assistant:
    assistant = await parts.store.get(Assistant, assistant_id)
    if assistant is None:
        raise unknown_assistant(assistant_id)
    return assistant


@router.post("")
async def create_assistant(body: CreateAssistant, parts: PartsDep, response: Response) -> dict[str, Any]:
    model = await parts.check_model(body.model)
    await parts.check_schemas(functions_of(body.tools), body.response_format)
    plan = await plan_resources(parts, body.tool_resources, tools=body.tools)
    assistant = Assistant(
        id=parts.ids.new("asst_"),
        created_at=parts.now(),
        name=body.name,
        description=body.description,
        model=body.model,
        instructions=body.instructions,
        tools=body.tools,
        top_p=1.0 if body.top_p is None else body.top_p,
        temperature=1.0 if body.temperature is None else body.temperature,
        reasoning_effort=body.reasoning_effort,
        tool_resources=plan.resources,
        metadata=body.metadata or {},
        response_format=body.response_format or "auto",
    )
    await parts.store.commit([*plan.changes, Put(assistant)], require=plan.require)
    plan.start(parts.ingestion)
    response.headers.update(ignored_header("createAssistant", body, model))
    return assistant.wire()


@router.get("")
async def list_assistants(parts: PartsDep, limit: Limit = 20, order: Order = "desc", after: str | None = None, before: str | None = None) -> dict[str, Any]:
    page = await parts.store.list_page(Assistant, limit=limit, order=order, after=after, before=before)
    return page_of(page.items, has_more=page.has_more)


@router.get("/{assistant_id}")
async def retrieve_assistant(assistant_id: str, parts: PartsDep) -> dict[str, Any]:
    return (await get_assistant(parts, assistant_id)).wire()


@router.post("/{assistant_id}")
async def modify_assistant(assistant_id: str, body: ModifyAssistant, parts: PartsDep, response: Response) -> dict[str, Any]:
    model = None if body.model is None else await parts.check_model(body.model)
    await parts.check_schemas(functions_of(body.tools or ()), body.response_format)
    fields = {name: getattr(body, name) for name in body.model_fields_set - {"tool_resources"}}
    # null sets a field back to what it is when nothing is said; a model there must be.
    fields |= {name: default for name, default in _DEFAULTS.items() if name in fields and fields[name] is None}
    if body.model is None:
        fields.pop("model", None)
    old = await get_assistant(parts, assistant_id)
    plan = await plan_resources(parts, body.tool_resources, tools=fields.get("tools", old.tools), old=old.tool_resources)

    def modified(now: Assistant) -> Assistant:
        return now.model_copy(update={**fields, "tool_resources": plan.onto(now.tool_resources, old=old.tool_resources)})

    update = Update(Assistant, assistant_id, modified, unknown_assistant(assistant_id))
    done = await parts.store.commit([*plan.changes, update], require=plan.require)
    plan.start(parts.ingestion)
    response.headers.update(ignored_header("modifyAssistant", body, model or await _find(parts, done[update].model)))
    return done[update].wire()


async def _find(parts: Parts, model: str) -> ModelInfo | None:
    """None for a model that was there when the assistant was made, and is gone."""
    try:
        return await parts.engines.find(model)
    except RequestError:
        return None


@router.delete("/{assistant_id}")
async def delete_assistant(assistant_id: str, parts: PartsDep) -> dict[str, Any]:
    """Its threads, messages and runs stay."""
    await parts.store.commit([Delete(Assistant, assistant_id)], require=[Exists(Assistant, assistant_id, unknown_assistant(assistant_id))])
    return deleted(assistant_id, "assistant.deleted")
