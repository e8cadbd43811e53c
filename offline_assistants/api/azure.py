"""The URLs of Azure OpenAI, answered as those of the API: a pure ASGI layer that rewrites the address and knows nothing of what is behind it.

/openai/threads/{id}/runs?api-version=...                  /v1/threads/{id}/runs
/openai/v1/threads/{id}/runs                               /v1/threads/{id}/runs
/openai/deployments/{model}/chat/completions               /v1/chat/completions, and the body's "model" is the deployment's where it names none
"""

from __future__ import annotations

import json
import re
from typing import Any, cast
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PLAIN = re.compile(r"/openai(?:/v1)?(/(?!deployments/).+)", re.DOTALL)
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)(/.+)", re.DOTALL)
_VERSION = re.compile(r"(?:^|&)api-version=[^&]*")


class AzureAddresses:
    """Stands behind the guard, which has limited the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path") or quote(scope.get("path", "")).encode()
        path = cast("bytes", raw).decode("latin-1").partition("?")[0]
        if scope["type"] != "http" or not path.startswith("/openai/"):
            await self._app(scope, receive, send)
            return
        deployment = _DEPLOYMENT.fullmatch(path)
        rest = deployment[2] if deployment else found[1] if (found := _PLAIN.fullmatch(path)) else path
        query = _VERSION.sub("", scope["query_string"].decode("latin-1")).lstrip("&")
        rewritten = {**scope, "path": unquote(f"/v1{rest}"), "raw_path": f"/v1{rest}".encode("latin-1"), "query_string": query.encode("latin-1")}
        if deployment and scope["method"] == "POST":
            receive = await _with_model(unquote(deployment[1]), rewritten, receive)
        await self._app(rewritten, receive, send)


async def _with_model(model: str, scope: Scope, receive: Receive) -> Receive:
    """The body with `model` in it, if it is an object that has none."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
    parsed = _parsed(body)
    if isinstance(parsed, dict) and "model" not in parsed:
        body = json.dumps({**cast("dict[str, Any]", parsed), "model": model}).encode()
        scope["headers"] = [each for each in scope["headers"] if each[0].lower() != b"content-length"] + [(b"content-length", str(len(body)).encode())]
    is_given = False

    async def receive_again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _parsed(body: bytes) -> object:
    """None for what is no JSON: the route says so better."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
