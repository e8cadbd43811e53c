"""/v1/threads/{thread_id}/runs, their steps, and /v1/threads/runs"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from fastapi import APIRouter, Response

from offline_assistants.api.assistants import get_assistant
from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.api.ignored_parameters import ignored_header
from offline_assistants.api.parts import Parts, PartsDep, functions_of, page_of, page_of_wires
from offline_assistants.api.requests import CreateMessage, CreateRun, CreateThreadAndRun, Include, Limit, ModifyMetadata, Order, RunOptions, SubmitToolOutputs
from offline_assistants.api.resources import plan_resources
from offline_assistants.api.sse import stream_response
from offline_assistants.api.threads import get_thread, plan_messages, plan_thread
from offline_assistants.domain.objects import (
    ACTIVE,
    Assistant,
    FunctionTool,
    Message,
    NamedToolChoice,
    Run,
    RunStep,
    ToolResources,
    TruncationStrategy,
)
from offline_assistants.errors import NotFound, RequestError

router = APIRouter(prefix="/v1/threads", route_class=CheckedRoute)
POLL_AFTER_MS = "250"


def _polled(run: Run, response: Response) -> dict[str, Any]:
    """A run as JSON; while it is active, with how long to wait before looking again."""
    if run.status in ACTIVE:
        response.headers["openai-poll-after-ms"] = POLL_AFTER_MS
    return run.wire()


async def get_run(parts: Parts, thread_id: str, run_id: str) -> Run:
    await get_thread(parts, thread_id)
    run = await parts.store.get(Run, run_id)
    if run is None or run.thread_id != thread_id:
        raise NotFound(f"No run found with id '{run_id}'.")
    return run


async def _new_run(parts: Parts, thread_id: str, body: RunOptions, resources: ToolResources | None = None) -> Run:
    """What the run does not say it takes from its assistant. Raises NotFound, ModelNotFound, RequestError."""
    assistant = await get_assistant(parts, body.assistant_id)
    model = body.model or assistant.model
    answering = await parts.engines.find(model)
    await parts.check_schemas(functions_of(body.tools or ()), body.response_format)
    tools = assistant.tools if body.tools is None else body.tools
    now = parts.now()
    run = Run(
        id=parts.ids.new("run_"),
        created_at=now,
        assistant_id=assistant.id,
        thread_id=thread_id,
        expires_at=now + parts.run_expires_after_s,
        model=model,
        instructions=_instructions(assistant, body),
        tools=tools,
        tool_resources=resources or assistant.tool_resources,
        metadata=body.metadata or {},
        temperature=assistant.temperature if body.temperature is None else body.temperature,
        top_p=assistant.top_p if body.top_p is None else body.top_p,
        reasoning_effort=body.reasoning_effort or assistant.reasoning_effort,
        max_completion_tokens=body.max_completion_tokens,
        max_prompt_tokens=body.max_prompt_tokens,
        truncation_strategy=body.truncation_strategy or TruncationStrategy(),
        response_format=body.response_format or assistant.response_format,
        tool_choice=body.tool_choice or "auto",
        parallel_tool_calls=body.parallel_tool_calls,
        x_model_file=answering.file_name,
    )
    _check_tool_choice(run)
    if run.truncation_strategy.type == "last_messages" and run.truncation_strategy.last_messages is None:
        param = "truncation_strategy.last_messages"
        raise RequestError(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    return run


def _instructions(assistant: Assistant, body: RunOptions) -> str | None:
    instructions = assistant.instructions if body.instructions is None else body.instructions
    added = body.additional_instructions if isinstance(body, CreateRun) else None
    return "\n\n".join(part for part in (instructions, added) if part) if added else instructions


def _check_tool_choice(run: Run) -> None:
    choice = run.tool_choice
    if choice == "required" and not run.tools:
        raise RequestError("Invalid value: 'tool_choice' is 'required', but the run has no tools.", param="tool_choice", code="invalid_value")
    if not isinstance(choice, NamedToolChoice):
        return
    if choice.type == "function":
        if choice.function is None:
            raise RequestError("Missing required parameter: 'tool_choice.function'.", param="tool_choice.function", code="missing_required_parameter")
        is_there = any(isinstance(tool, FunctionTool) and tool.function.name == choice.function.name for tool in run.tools)
    else:
        is_there = any(tool.type == choice.type for tool in run.tools)
    if not is_there:
        name = choice.function.name if choice.function else choice.type
        raise RequestError(f"Invalid value: 'tool_choice' names '{name}', which is not among the run's tools.", param="tool_choice", code="invalid_value")


async def _check_purpose(parts: Parts, run: Run, messages: list[CreateMessage]) -> None:
    """Somebody has to say what to do: a user message (one of the new `messages`, or one that is in the thread), or instructions."""
    if run.instructions or any(message.role == "user" for message in messages):
        return
    if not (await parts.store.list_page(Message, parent={"thread_id": run.thread_id}, where={"role": "user"}, limit=1)).items:
        raise RequestError("Run creation requires a Thread with a user message or an assistant with instructions.", code="invalid_thread")


def _stream(parts: Parts, run_id: str, start: int = 0, *, with_search_content: bool = False, headers: Mapping[str, str] | None = None) -> Response:
    events = parts.supervisor.read(run_id, start, patience_s=parts.heartbeat_s)
    answer = stream_response(events, with_search_content=with_search_content)
    answer.headers.update(headers or {})
    return answer


@router.post("/runs", response_model=None)
async def create_thread_and_run(body: CreateThreadAndRun, parts: PartsDep, response: Response) -> Response | dict[str, Any]:
    thread, plan = await plan_thread(parts, body.thread)
    resources = None
    if body.tool_resources is not None:
        asked = await plan_resources(parts, body.tool_resources)
        resources = asked.resources
        plan.changes = [*asked.changes, *plan.changes]
        plan.require += asked.require
        plan.stores += asked.stores
    run = await _new_run(parts, thread.id, body, resources)
    await _check_purpose(parts, run, body.thread.messages)
    ignored = ignored_header("createThreadAndRun", body, await parts.engines.find(run.model))
    run = await parts.supervisor.create(run, store=parts.store, changes=plan.changes, require=plan.require, thread=thread)
    plan.start(parts.ingestion)
    response.headers.update(ignored)
    return _stream(parts, run.id, headers=ignored) if body.stream else _polled(run, response)


@router.post("/{thread_id}/runs", response_model=None)
async def create_run(
    thread_id: str,
    body: CreateRun,
    parts: PartsDep,
    response: Response,
    include: Include = [],  # noqa: B006 FastAPI copies it
) -> Response | dict[str, Any]:
    async with parts.attaching if body.additional_messages else nullcontext():
        _, plan = await plan_messages(parts, await get_thread(parts, thread_id), body.additional_messages or [])
        run = await _new_run(parts, thread_id, body)
        await _check_purpose(parts, run, body.additional_messages or [])
        ignored = ignored_header("createRun", body, await parts.engines.find(run.model))
        run = await parts.supervisor.create(run, store=parts.store, changes=plan.changes, require=plan.require)
    plan.start(parts.ingestion)
    response.headers.update(ignored)
    return _stream(parts, run.id, with_search_content=bool(include), headers=ignored) if body.stream else _polled(run, response)


@router.get("/{thread_id}/runs")
async def list_runs(
    thread_id: str, parts: PartsDep, limit: Limit = 20, order: Order = "desc", after: str | None = None, before: str | None = None
) -> dict[str, Any]:
    await get_thread(parts, thread_id)
    page = await parts.store.list_page(Run, parent={"thread_id": thread_id}, limit=limit, order=order, after=after, before=before)
    return page_of(page.items, has_more=page.has_more)


@router.get("/{thread_id}/runs/{run_id}")
async def retrieve_run(thread_id: str, run_id: str, parts: PartsDep, response: Response) -> dict[str, Any]:
    return _polled(await get_run(parts, thread_id, run_id), response)


@router.post("/{thread_id}/runs/{run_id}")
async def modify_run(thread_id: str, run_id: str, body: ModifyMetadata, parts: PartsDep) -> dict[str, Any]:
    run = await get_run(parts, thread_id, run_id)
    if "metadata" not in body.model_fields_set:
        return run.wire()
    return (await parts.supervisor.set_metadata(run, body.metadata or {})).wire()


@router.post("/{thread_id}/runs/{run_id}/cancel")
async def cancel_run(thread_id: str, run_id: str, parts: PartsDep, response: Response) -> dict[str, Any]:
    return _polled(await parts.supervisor.cancel(await get_run(parts, thread_id, run_id)), response)


def _named_outputs(run: Run, body: SubmitToolOutputs) -> Iterator[tuple[str, str]]:
    """An output without a name is the one of the only call that waits."""
    calls = run.required_action.submit_tool_outputs.tool_calls if run.required_action else []
    for index, each in enumerate(body.tool_outputs):
        if each.tool_call_id is not None:
            yield each.tool_call_id, each.output
        elif len(calls) == 1:
            yield calls[0].id, each.output
        elif calls:
            param = f"tool_outputs[{index}].tool_call_id"
            raise RequestError(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


@router.post("/{thread_id}/runs/{run_id}/submit_tool_outputs", response_model=None)
async def submit_tool_outputs(thread_id: str, run_id: str, body: SubmitToolOutputs, parts: PartsDep, response: Response) -> Response | dict[str, Any]:
    run = await get_run(parts, thread_id, run_id)
    run, start = await parts.supervisor.submit_tool_outputs(run, list(_named_outputs(run, body)))
    return _stream(parts, run.id, start) if body.stream else _polled(run, response)


@router.get("/{thread_id}/runs/{run_id}/steps")
async def list_run_steps(
    thread_id: str,
    run_id: str,
    parts: PartsDep,
    limit: Limit = 20,
    order: Order = "desc",
    after: str | None = None,
    before: str | None = None,
    include: Include = [],  # noqa: B006 FastAPI copies it
) -> dict[str, Any]:
    await get_run(parts, thread_id, run_id)
    page = await parts.store.list_page(RunStep, parent={"run_id": run_id}, limit=limit, order=order, after=after, before=before)
    return page_of_wires([step.wire(with_search_content=bool(include)) for step in page.items], has_more=page.has_more)


@router.get("/{thread_id}/runs/{run_id}/steps/{step_id}")
async def retrieve_run_step(
    thread_id: str,
    run_id: str,
    step_id: str,
    parts: PartsDep,
    include: Include = [],  # noqa: B006 FastAPI copies it
) -> dict[str, Any]:
    await get_run(parts, thread_id, run_id)
    step = await parts.store.get(RunStep, step_id)
    if step is None or step.run_id != run_id:
        raise NotFound(f"No run step found with id '{step_id}'.")
    return step.wire(with_search_content=bool(include))
