"""Who may speak to the server: a pure ASGI layer in front of everything, so that streams are not buffered. Knows nothing of routes.

A page of another site can send requests to this machine's addresses, and by DNS rebinding even under its own name. Addresses and `localhost` cannot be
rebound; any other Host has to be allowed by name. A cross-site request that changes something is refused.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from offline_assistants.api.faults import envelope
from offline_assistants.domain.objects import DEFAULT_PROJECT

SECURITY_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"), (b"cross-origin-resource-policy", b"same-origin")]


class Guard:
    """Refuses foreign hosts and origins, and marks every answer with a request id."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: Sequence[str] = ()) -> None:
        self._app = app
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{uuid.uuid4().hex}"
        scope.setdefault("state", {})["project"] = DEFAULT_PROJECT

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                    (b"openai-version", b"2020-10-01"),
                    *SECURITY_HEADERS,
                ]
            await send(message)

        refusal = None if is_local_socket(scope) else self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_marked)
        else:
            status, sentence = refusal
            await envelope(sentence, status=status, error_type="invalid_request_error")(scope, receive, send_marked)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers: dict[str, str] = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        host = _hostname(headers.get("host", ""))
        if not self._is_known(host):
            return 421, f"This server does not answer to the name '{host}'. Start it with --allow-host {host or 'NAME'} if that is its name."
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        origin: str | None = headers.get("origin")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") or (origin is not None and _hostname(str(urlsplit(origin).netloc)) != host):
            return 403, f"Requests from the page {origin or 'of another site'} are refused."
        return None

    def _is_known(self, host: str) -> bool:
        if host in self._allowed_hosts or host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True


def is_local_socket(scope: Scope) -> bool:
    """Whether the request came over the socket in the data directory, which only its owner can open."""
    server = scope.get("server")
    return server is not None and server[1] is None


def _hostname(netloc: str) -> str:
    """`Host:port` without the port and without the brackets of IPv6, in lower case."""
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0].lower()
    return netloc.partition(":")[0].lower()
