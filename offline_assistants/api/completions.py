"""/v1/completions: plain prompts gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from offline_assistants.api.answering import answer_headers, fingerprint, read_to_the_end
from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.api.chat_requests import CreateCompletion
from offline_assistants.api.data_stream import DataStream, frames_of, unless_client_leaves
from offline_assistants.api.parts import PartsDep
from offline_assistants.completions.generations import Generation, side_by_side
from offline_assistants.completions.text_answer import TextAnswer, TextForm
from offline_assistants.domain.chat_completions import TextCompletion
from offline_assistants.errors import RequestError
from offline_assistants.ports import RawPrompt

router = APIRouter(prefix="/v1/completions", route_class=CheckedRoute)
DEFAULT_MAX_TOKENS = 16


@router.post("", response_model=None)
async def create_completion(body: CreateCompletion, request: Request, parts: PartsDep) -> Response:
    """The answer ends when its client leaves."""
    _check(body)
    model = await parts.engines.find(body.model)
    head: dict[str, Any] = {
        "id": parts.ids.new("cmpl-"),
        "object": "text_completion",
        "created": parts.now(),
        "model": body.model,
        "system_fingerprint": fingerprint(model),
    }
    prompts, num_shown = _prompts(body), body.n or 1
    num_made = body.best_of or num_shown
    answer = TextAnswer(TextForm(head, len(prompts), num_shown, num_made, body.logprobs, with_usage=body.with_usage))
    batches = side_by_side(parts.engines, model.model_id, _generations(body, prompts, num_made), silence_s=parts.heartbeat_s)
    headers = answer_headers("createCompletion", body, model)
    if body.stream:
        # What fails before the first word is an ordinary failure with its status.
        first = await unless_client_leaves(request, anext(batches))
        return DataStream(frames_of(first, batches, take=answer.take, end=_end(answer)), headers=headers)
    await unless_client_leaves(request, read_to_the_end(batches, answer.take))
    whole = TextCompletion(**head, choices=answer.choices(), usage=answer.usage, x_model_file=model.file_name)
    return JSONResponse(whole.model_dump(mode="json"), headers=headers)


def _end(answer: TextAnswer) -> Any:
    async def end() -> dict[str, Any] | None:
        return answer.last_chunk()

    return end


def _check(body: CreateCompletion) -> None:
    if body.best_of and body.best_of < (body.n or 1):
        raise RequestError(f"'best_of' must be at least 'n': {body.best_of} is less than {body.n or 1}.", param="best_of")
    if body.stream and body.best_of is not None and body.best_of > (body.n or 1):
        raise RequestError("The best of several completions is known at their end only, so it cannot be streamed. Leave out 'stream'.", param="best_of")


def _prompts(body: CreateCompletion) -> list[RawPrompt]:
    """No prompt: a new document."""
    given, echo = body.prompt, bool(body.echo)
    if given is None or isinstance(given, str):
        return [RawPrompt(given or "", echo)]
    if isinstance(given[0], int):
        return [RawPrompt(tuple(cast("list[int]", given)), echo)]
    several = cast("list[str] | list[list[int]]", given)
    return [RawPrompt(each if isinstance(each, str) else tuple(each), echo) for each in several]


def _generations(body: CreateCompletion, prompts: Sequence[RawPrompt], num_made: int) -> list[Generation]:
    max_tokens = DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    # To choose the best of several, it has to be known how likely each is.
    top_logprobs = 0 if body.logprobs is None and num_made > (body.n or 1) else body.logprobs
    samplings = [body.sampling(max_tokens=max_tokens, top_logprobs=top_logprobs, choice=number) for number in range(num_made)]
    return [
        Generation(prompt, sampling, leader=place * num_made if number else None)
        for place, prompt in enumerate(prompts)
        for number, sampling in enumerate(samplings)
    ]
