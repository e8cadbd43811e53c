"""`bench`: how fast a model answers on this machine, as a client of the server measures it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Optional

import httpx
import typer

from offline_assistants.cli.connection import answered, client_of_server, default_model
from offline_assistants.cli.terminal import AsJson, show_json, show_table, status
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.transfer import lines_of

NUM_ANSWERS = 4
READING = "The ferry leaves the harbour at nine and comes back before dark, unless the wind is too strong. " * 40
WRITING = "Count from one to two hundred, in words."


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Timed:
    """One answer on the clock; times in seconds since it was asked for."""

    first_s: float
    last_s: float
    prompt_tokens: int
    completion_tokens: int


def measure_model(
    *,
    model: Annotated[Optional[str], typer.Option("--model", "-m", help="Default: the model that hosted names stand for.")] = None,  # noqa: UP045 typer reads this form
    max_tokens: Annotated[int, typer.Option("--max-tokens", "-n", min=8, help="How long each answer may become.")] = 96,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a model reads and writes here. Takes half a minute with a small model; nothing is kept."""
    name, figures = asyncio.run(_measure(model, max_tokens))
    if as_json:
        show_json({"model": name, "figures": [asdict(figure) for figure in figures]})
    else:
        show_table((name, "", ""), ([figure.name, f"{figure.value:.3g}", figure.unit] for figure in figures))


async def _measure(model: str | None, max_tokens: int) -> tuple[str, list[Figure]]:
    async with client_of_server(is_working=True) as client:
        name = model or await default_model(client)
        with status(f"1 of 4: loading {name}") as says:
            loading = await _time(client, name, "Hello", 8)
            says("2 of 4: reading")
            # What comes first differs, so that nothing of it was computed before.
            reading = await _time(client, name, f"{time.time_ns()} {READING}", 8)
            says("3 of 4: writing")
            writing = await _time(client, name, WRITING, max_tokens)
            says(f"4 of 4: writing {NUM_ANSWERS} answers side by side")
            began = time.perf_counter()
            beside = await asyncio.gather(*(_time(client, name, f"{number}. {WRITING}", max_tokens) for number in range(NUM_ANSWERS)))
            took_s = time.perf_counter() - began
    return name, [
        Figure("first word, the model loaded for it", loading.first_s, "s"),
        Figure(f"reading a prompt of {reading.prompt_tokens} tokens", reading.prompt_tokens / reading.first_s, "tokens/s"),
        Figure("writing one answer", max(0, writing.completion_tokens - 1) / max(1e-9, writing.last_s - writing.first_s), "tokens/s"),
        Figure(f"writing {NUM_ANSWERS} answers side by side, in all", sum(each.completion_tokens for each in beside) / took_s, "tokens/s"),
    ]


async def _time(client: httpx.AsyncClient, model: str, prompt: str, max_tokens: int) -> Timed:
    began = time.perf_counter()
    first_s, usage = None, dict[str, int]()
    async for chunk in _chunks(client, model, prompt, max_tokens):
        usage = chunk.get("usage") or usage
        if first_s is None and any(choice["delta"].get("content") or choice["delta"].get("reasoning_content") for choice in chunk["choices"]):
            first_s = time.perf_counter() - began
    last_s = time.perf_counter() - began
    return Timed(first_s or last_s, last_s, usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))


async def _chunks(client: httpx.AsyncClient, model: str, prompt: str, max_tokens: int) -> AsyncGenerator[dict[str, Any]]:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_completion_tokens": max_tokens, "temperature": 0}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    async with client.stream("POST", "/v1/chat/completions", json=body, timeout=httpx.Timeout(60, read=None)) as response:
        if response.is_error:
            await response.aread()
            answered(response)
        async for line in lines_of(response):
            if line.startswith("data: ") and not line.endswith("[DONE]"):
                chunk: dict[str, Any] = json.loads(line[6:])
                if "error" in chunk:
                    raise OfflineAssistantsError(str(chunk["error"]["message"]))
                yield chunk
