"""Whether the JSON schemas of a request can be honoured, before any model is asked. Off the event loop, and never for long."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

from offline_assistants.engine.chat_formats.schemas import arguments_schema, closed, json_rule
from offline_assistants.engine.grammar import problem_of
from offline_assistants.errors import RequestError

MAX_CHARACTERS = 150_000
"""Of one schema. The time that a check takes grows faster than its length."""
MAX_CHECK_S = 10.0
_NUM_THREADS = 2
_NUM_REMEMBERED = 512


class SchemaCheck:
    """Clients send the same schemas again and again, so the last ones are remembered. A context manager: leaving it ends its threads."""

    def __init__(self, *, max_check_s: float = MAX_CHECK_S) -> None:
        self._threads = ThreadPoolExecutor(max_workers=_NUM_THREADS, thread_name_prefix="schemas")
        self._max_check_s = max_check_s
        self._problem_of = lru_cache(maxsize=_NUM_REMEMBERED)(problem_of)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def check_function(self, name: str, parameters: dict[str, Any] | None, *, param: str) -> None:
        """Raises RequestError when no call can be held to the schema of its arguments. `param`: where in the request it stands."""
        if parameters and (problem := await self._problem(parameters, are_arguments=True)):
            raise RequestError(f"Invalid schema for function '{name}': {problem}.", param=param, code="invalid_function_parameters")

    async def check_answer(self, name: str, schema: dict[str, Any] | None) -> None:
        """Raises RequestError when no answer can be held to this schema."""
        if schema and (problem := await self._problem(schema, are_arguments=False)):
            raise RequestError(f"Invalid schema for response_format '{name}': {problem}.", param="response_format")

    async def _problem(self, schema: dict[str, Any], *, are_arguments: bool) -> str | None:
        try:
            lark = f"start: {json_rule(arguments_schema(schema) if are_arguments else closed(schema))}"
        except RecursionError:
            return "it is nested too deeply"
        if len(lark) > MAX_CHARACTERS:
            return f"it has {len(lark)} characters of JSON, and {MAX_CHARACTERS} are the most"
        try:
            async with asyncio.timeout(self._max_check_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._problem_of, lark)
        except TimeoutError:
            return f"it could not be read within {self._max_check_s:g} seconds; make it smaller"
