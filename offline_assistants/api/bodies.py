"""How a route reads a JSON body: what Python's parser takes and JSON does not have is refused, so that everything that is kept can be sent again."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from offline_assistants.errors import RequestError

DRAIN_S = 10.0
"""A client that is still sending does not read: so long the rest of a refused body is taken, and thrown away, before it is answered."""
DRAIN_IDLE_S = 0.3
"""One that sends nothing for so long waits for the answer."""
MAX_INTEGER_DIGITS = 300
"""More than that is infinite where numbers are read as floating point, as the database and most clients do."""


async def drain(take_piece: Callable[[], Awaitable[bool]]) -> None:
    """Take what is still coming of a body and throw it away; `take_piece` says whether there is more."""
    try:
        async with asyncio.timeout(DRAIN_S):
            while await asyncio.wait_for(take_piece(), DRAIN_IDLE_S):
                pass
    except TimeoutError:
        return


class CheckedRoute(APIRoute):
    """Gives its handler a `CheckedRequest`. Every router of the API is made with it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_checked(request: Request) -> Response:
            return await answer(CheckedRequest(request.scope, request.receive))

        return answer_checked


class CheckedRequest(Request):
    async def json(self) -> Any:
        """The body. Raises RequestError: no JSON, nested too deep, a number that is none or too large, half a surrogate pair, no UTF-8."""
        if not hasattr(self, "_checked"):
            self._checked = parse(await self.body())
        return self._checked


def parse(body: bytes) -> Any:
    try:
        value = json.loads(body.decode(), parse_constant=_refuse, parse_int=_integer, parse_float=_number)
        json.dumps(value, ensure_ascii=False).encode()  # finds half a surrogate pair, which no text is
    except RecursionError:
        raise _invalid("It is nested too deep.") from None
    except UnicodeDecodeError as error:
        raise _invalid("It is not UTF-8.") from error
    except UnicodeEncodeError as error:
        raise _invalid("It holds half a surrogate pair (\\ud800 to \\udfff alone), which is no character.") from error
    except ValueError as error:
        raise _invalid(f"{error}.") from error
    return value


def _invalid(reason: str) -> RequestError:
    message = f"We could not parse the JSON body of your request. {reason} Send one JSON object with the header Content-Type: application/json."
    return RequestError(message, code="invalid_json")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise ValueError(f"It holds an integer of {len(digits)} digits; at most {MAX_INTEGER_DIGITS} are accepted")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"It holds a number that is too large: {digits[:20]}")
    return number
