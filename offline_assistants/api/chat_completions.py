"""/v1/chat/completions: answers to chats, and those that were stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from offline_assistants.api.answering import answer_headers, fingerprint, read_to_the_end
from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.api.chat_requests import CreateChatCompletion, ModifyChatCompletion
from offline_assistants.api.data_stream import DataStream, frames_of, unless_client_leaves
from offline_assistants.api.parts import Parts, PartsDep, deleted, metadata_filter, page_of, page_of_wires
from offline_assistants.api.requests import Limit, Order
from offline_assistants.completions.chat_answer import AnswerForm, ChatAnswer
from offline_assistants.completions.chat_pictures import with_pictures
from offline_assistants.completions.chat_prompt import chat_messages, chosen_tools, function_choice, stored_messages, tool_specs
from offline_assistants.completions.generations import Generation, side_by_side
from offline_assistants.domain.chat_completions import ChatCompletion
from offline_assistants.domain.objects import FunctionDefinition
from offline_assistants.errors import NotFound, RequestError
from offline_assistants.ports import Chat, ModelInfo, ResponseFormat
from offline_assistants.store.changes import Delete, Exists, Put, Update

router = APIRouter(prefix="/v1/chat/completions", route_class=CheckedRoute)


# ── Answering ────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("", response_model=None)
async def create_chat_completion(body: CreateChatCompletion, request: Request, parts: PartsDep) -> Response:
    """The answer ends when its client leaves."""
    _check(body)
    chat = _chat(body)
    model = await parts.engines.find(body.model)
    await parts.check_schemas(_functions(body), body.response_format)
    if any(message.pictures for message in chat.messages):
        # Only a model that is loaded tells whether it sees.
        chat = await with_pictures(chat, await unless_client_leaves(request, parts.engines.load(model.model_id)))
    completion = _Completion(parts, body, model)
    batches = side_by_side(parts.engines, model.model_id, _generations(parts, body, chat), silence_s=parts.heartbeat_s)
    headers = answer_headers("createChatCompletion", body, model)
    if body.stream:
        # What fails before the first word is an ordinary failure with its status.
        first = await unless_client_leaves(request, anext(batches))
        return DataStream(frames_of(first, batches, take=completion.answer.take, end=completion.end), headers=headers)
    await unless_client_leaves(request, read_to_the_end(batches, completion.answer.take))
    return JSONResponse((await completion.save()).wire(), headers=headers)


class _Completion:
    """One answer, and what it becomes when it is whole."""

    def __init__(self, parts: Parts, body: CreateChatCompletion, model: ModelInfo) -> None:
        self._parts = parts
        self._body = body
        self._model = model
        self._id = parts.ids.new("chatcmpl-")
        self._created = parts.now()
        head = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": body.model,
            "service_tier": "default",
            "system_fingerprint": fingerprint(model),
        }
        form = AnswerForm(head, with_logprobs=bool(body.logprobs), with_usage=body.with_usage, is_legacy=body.offers_functions)
        self.answer = ChatAnswer(form, num_choices=body.n or 1, new_call_id=lambda: parts.ids.new("call_"))

    async def save(self) -> ChatCompletion:
        """The whole answer, kept if the request says so."""
        completion = ChatCompletion(
            id=self._id,
            created=self._created,
            model=self._body.model,
            choices=self.answer.choices(),
            usage=self.answer.usage,
            system_fingerprint=fingerprint(self._model),
            metadata=self._body.metadata or {},
            x_model_file=self._model.file_name,
            messages=stored_messages(self._body.messages) if self._body.store else [],
        )
        if self._body.store:
            await self._parts.store.commit([Put(completion)])
        return completion

    async def end(self) -> dict[str, Any] | None:
        if self._body.store:
            await self.save()
        return self.answer.last_chunk()


def _check(body: CreateChatCompletion) -> None:
    if body.top_logprobs is not None and not body.logprobs:
        raise RequestError("Invalid value for 'top_logprobs': 'top_logprobs' is only allowed when 'logprobs' is enabled.", param="top_logprobs")
    if body.max_tokens is not None and body.max_completion_tokens not in (None, body.max_tokens):
        raise RequestError("'max_tokens' and 'max_completion_tokens' say different things. Leave out 'max_tokens', the older of the two.", param="max_tokens")
    if body.offers_functions and body.tools is not None:
        raise RequestError("Setting 'functions' and 'tools' at the same time is not supported. Use 'tools'.", param="functions")
    for choice, tools in (("tool_choice", body.tools), ("function_call", body.functions)):
        if getattr(body, choice) not in (None, "none", "auto") and not tools:
            noun = "tools" if choice == "tool_choice" else "functions"
            raise RequestError(f"Invalid value for '{choice}': '{choice}' is only allowed when '{noun}' are specified.", param=choice)


def _chat(body: CreateChatCompletion) -> Chat:
    if body.functions is not None and body.offers_functions:
        tools, choice = chosen_tools(tool_specs(body.functions, param="functions"), function_choice(body.function_call))
    else:
        tools, choice = chosen_tools(tool_specs([tool.function for tool in body.tools or ()], param="tools"), body.tool_choice)
    return Chat(
        messages=chat_messages(body.messages),
        tools=tools,
        tool_choice=choice if tools else "none",
        parallel_tool_calls=not body.offers_functions and body.parallel_tool_calls is not False,
        response_format=ResponseFormat.asked(body.response_format),
        reasoning_effort=body.reasoning_effort,
    )


def _functions(body: CreateChatCompletion) -> dict[str, FunctionDefinition]:
    """By where their parameters stand."""
    if body.functions is not None and body.offers_functions:
        return {f"functions[{number}].parameters": function for number, function in enumerate(body.functions)}
    return {f"tools[{number}].function.parameters": tool.function for number, tool in enumerate(body.tools or ())}


def _generations(parts: Parts, body: CreateChatCompletion, chat: Chat) -> Sequence[Generation]:
    limits = (body.max_completion_tokens, body.max_tokens, parts.max_answer_tokens)
    max_tokens = next(limit for limit in limits if limit is not None)
    top_logprobs = (body.top_logprobs or 0) if body.logprobs else None
    samplings = [body.sampling(max_tokens=max_tokens, top_logprobs=top_logprobs, choice=number) for number in range(body.n or 1)]
    return [Generation(chat, sampling, leader=0 if number else None) for number, sampling in enumerate(samplings)]


# ── Those that were stored ───────────────────────────────────────────────────────────────────────────────────────────


def _unknown(completion_id: str) -> NotFound:
    return NotFound(f"Chat completion with id '{completion_id}' not found. Only those created with 'store': true are kept.")


async def _get(parts: Parts, completion_id: str) -> ChatCompletion:
    completion = await parts.store.get(ChatCompletion, completion_id)
    if completion is None:
        raise _unknown(completion_id)
    return completion


METADATA = {
    "parameters": [
        {"name": "metadata", "in": "query", "style": "deepObject", "explode": True, "schema": {"type": "object", "additionalProperties": {"type": "string"}}}
    ]
}
"""What FastAPI has no words for: `metadata[key]=value`."""


@router.get("", openapi_extra=METADATA)
async def list_chat_completions(
    request: Request, parts: PartsDep, model: str | None = None, limit: Limit = 20, order: Order = "asc", after: str | None = None
) -> dict[str, Any]:
    where = {"model": model} if model is not None else {}
    where |= metadata_filter(request)
    page = await parts.store.list_page(ChatCompletion, where=where, limit=limit, order=order, after=after)
    return page_of(page.items, has_more=page.has_more)


@router.get("/{completion_id}")
async def retrieve_chat_completion(completion_id: str, parts: PartsDep) -> dict[str, Any]:
    return (await _get(parts, completion_id)).wire()


@router.post("/{completion_id}")
async def modify_chat_completion(completion_id: str, body: ModifyChatCompletion, parts: PartsDep) -> dict[str, Any]:
    metadata = body.metadata or {}
    update = Update(ChatCompletion, completion_id, lambda old: old.model_copy(update={"metadata": metadata}), _unknown(completion_id))
    return (await parts.store.commit([update]))[update].wire()


@router.delete("/{completion_id}")
async def delete_chat_completion(completion_id: str, parts: PartsDep) -> dict[str, Any]:
    await parts.store.commit([Delete(ChatCompletion, completion_id)], require=[Exists(ChatCompletion, completion_id, _unknown(completion_id))])
    return deleted(completion_id, "chat.completion.deleted")


@router.get("/{completion_id}/messages")
async def list_chat_completion_messages(
    completion_id: str, parts: PartsDep, limit: Limit = 20, order: Order = "asc", after: str | None = None
) -> dict[str, Any]:
    """What was asked, in the order in which it was sent."""
    completion = await _get(parts, completion_id)
    messages = [{"id": f"{completion_id}-{number}", **message} for number, message in enumerate(completion.messages)]
    messages = messages if order == "asc" else messages[::-1]
    start = 0
    if after is not None:
        start = next((place + 1 for place, message in enumerate(messages) if message["id"] == after), 0)
        if not start:
            raise NotFound(f"No message found with id '{after}'.", param="after")
    return page_of_wires(messages[start : start + limit], has_more=len(messages) > start + limit)
