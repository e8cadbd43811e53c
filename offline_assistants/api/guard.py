"""Who may speak to the server: a pure ASGI layer in front of everything, so that streams are not buffered. Knows nothing of routes but two that read forms.

A page of another site can send requests to this machine's addresses, and by DNS rebinding even under its own name. Addresses and `localhost` cannot be
rebound; any other Host has to be allowed by name. A request of another origin that changes something is refused, and no other origin reads an answer, unless
that origin was allowed by name.

Every request that passes belongs to a project: that of its key. Where keys are not required, a key that is unknown, or none, means the project `default`.
Commands, on the socket in the data directory, name the project they mean in the header OpenAI-Project.

An answer may set its own Content-Security-Policy; the strict one here is for those that do not.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from offline_assistants.api.bodies import drain
from offline_assistants.api.faults import envelope
from offline_assistants.api.keys import KeyRing
from offline_assistants.api.playground import is_page
from offline_assistants.domain.objects import DEFAULT_PROJECT

MAX_BODY_BYTES = 32 * 2**20
"""Of a JSON body; forms with files are limited where they are read."""
PAGE_POLICY = b"default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
DATA_POLICY = b"default-src 'none'; frame-ancestors 'none'; sandbox"
_READS_FORM = re.compile(r"/(?:v1|openai|openai/v1)/(?:files|uploads/[^/]+/parts)")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
Headers = dict[str, str]
RawHeaders = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What the guard was told to let in."""

    hosts: Sequence[str] = ()
    """Names that a Host header may carry, beside addresses and localhost."""
    origins: Sequence[str] = ()
    """Origins whose pages may use the API, as https://app.example; `*`: all."""
    require_keys: bool = False

    def allows(self, origin: str) -> bool:
        return "*" in self.origins or origin in self.origins


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    sentence: str
    code: str | None = None


class Guard:
    """Refuses what may not come in, says whose the rest is (`scope["state"]["project"]`), and marks every answer."""

    def __init__(self, app: ASGIApp, keys: KeyRing, rules: Rules) -> None:
        self._app = app
        self._keys = keys
        self._rules = rules
        self._hosts = frozenset(host.lower() for host in rules.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # there are no websockets here: uvicorn answers 403
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        marked = self._marked(send, headers)
        state = scope.setdefault("state", {})
        if is_local_socket(scope):
            state["project"] = headers.get("openai-project") or DEFAULT_PROJECT
            await self._app(scope, receive, marked)
            return
        checked = self._check_origin(scope, headers) or _check_beta(headers) or _check_length(scope, headers)
        if checked is None and _is_preflight(scope, headers):
            await marked({"type": "http.response.start", "status": 204, "headers": self._preflight(headers)})
            await marked({"type": "http.response.body"})
            return
        project = checked or (DEFAULT_PROJECT if is_page(scope["method"], scope["path"]) else self._project(headers))
        if isinstance(project, Refusal):
            await self._refuse(project, scope, receive, marked)
            return
        state["project"] = project
        await self._app(scope, _limited(scope, receive), marked)

    # ── Who asks ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _check_origin(self, scope: Scope, headers: Headers) -> Refusal | None:
        host = _hostname(headers.get("host", ""))
        if not self._is_known(host):
            return Refusal(421, f"This server does not answer to the name '{host}'. Start it with --allow-host {host or 'NAME'} if that is its name.")
        origin = headers.get("origin")
        if origin is not None and self._rules.allows(origin):
            return None
        if scope["method"] in _SAFE_METHODS and not _is_preflight(scope, headers):
            return None
        is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site") or (origin is not None and not _is_same(origin, headers["host"]))
        if not is_foreign:
            return None
        page = origin if origin and origin != "null" else "ORIGIN"
        return Refusal(403, f"Requests from the page {origin or 'of another site'} are refused. Start the server with --allow-origin {page} to let it in.")

    def _is_known(self, host: str) -> bool:
        if host in self._hosts or host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    def _project(self, headers: Headers) -> str | Refusal:
        """Whose request it is."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        text = bearer.strip() if scheme.lower() == "bearer" else ""
        text = text or headers.get("api-key", "").strip()
        key = self._keys.find(text) if text else None
        if key is not None:
            return key.project
        if not self._rules.require_keys:
            return DEFAULT_PROJECT
        if not text:
            return Refusal(401, _NO_KEY)
        shown = f"{text[:4]}***{text[-4:]}" if len(text) > 12 else "***"
        return Refusal(401, f"Incorrect API key provided: {shown}. `offline-assistants keys create` makes a key.", "invalid_api_key")

    # ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _refuse(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in _SAFE_METHODS:
            await _drain(receive)
        answer = envelope(refusal.sentence, status=refusal.status, error_type="invalid_request_error", code=refusal.code)
        answer.headers["x-should-retry"] = "false"
        await answer(scope, receive, send)

    def _marked(self, send: Send, headers: Headers) -> Send:
        request_id = f"req_{uuid.uuid4().hex}"
        cors = self._cors(headers.get("origin"))

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                given: RawHeaders = list(message.get("headers", []))
                names = {name.lower(): value for name, value in given}
                is_page = names.get(b"content-type", b"").startswith(b"text/html")
                added: RawHeaders = [
                    (b"x-request-id", request_id.encode()),
                    (b"openai-version", b"2020-10-01"),
                    (b"x-content-type-options", b"nosniff"),
                    (b"x-frame-options", b"DENY"),
                    (b"referrer-policy", b"no-referrer"),
                    (b"content-security-policy", PAGE_POLICY if is_page else DATA_POLICY),
                    *cors,
                ]
                message = {**message, "headers": [*given, *(each for each in added if each[0] not in names)]}
            await send(message)

        return send_marked

    def _cors(self, origin: str | None) -> RawHeaders:
        """Keys travel in headers, not in cookies: no credentials."""
        varies: RawHeaders = [(b"vary", b"Origin")] if self._rules.origins else []
        if origin is None or not self._rules.allows(origin):
            return [(b"cross-origin-resource-policy", b"same-origin"), *varies]
        return [
            (b"cross-origin-resource-policy", b"cross-origin"),
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", b"x-request-id, openai-version, openai-processing-ms, openai-poll-after-ms, x-ignored-parameters"),
            *varies,
        ]

    def _preflight(self, headers: Headers) -> RawHeaders:
        return [
            (b"access-control-allow-methods", b"GET, POST, DELETE"),
            (b"access-control-allow-headers", headers.get("access-control-request-headers", "*").encode("latin-1")),
            (b"access-control-max-age", b"600"),
        ]


_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY). "
    "`offline-assistants keys create` makes a key."
)


def is_local_socket(scope: Scope) -> bool:
    """Whether the request came over the socket in the data directory, which only its owner can open."""
    server = scope.get("server")
    return server is not None and server[1] is None


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    return scope["method"] == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def _check_beta(headers: Headers) -> Refusal | None:
    if "assistants=v1" not in headers.get("openai-beta", "").replace(" ", "").split(","):
        return None
    sentence = "Version 1 of the Assistants API is not served. Set the header 'OpenAI-Beta: assistants=v2', or leave it out."
    return Refusal(400, sentence, "invalid_beta")


# ── Bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_length(scope: Scope, headers: Headers) -> Refusal | None:
    """A body that says beforehand that it is too large is refused before any of it is kept."""
    length = headers.get("content-length", "0")
    if _READS_FORM.fullmatch(scope["path"]) or not length.isdigit() or int(length) <= MAX_BODY_BYTES:
        return None
    return Refusal(413, _too_large(int(length)), "request_too_large")


def _limited(scope: Scope, receive: Receive) -> Receive:
    """`receive` that stops a body which says nothing of its length when it has become too large."""
    if _READS_FORM.fullmatch(scope["path"]):
        return receive
    num_bytes = 0

    async def receive_limited() -> Message:
        nonlocal num_bytes
        message = await receive()
        if message["type"] == "http.request":
            num_bytes += len(message.get("body", b""))
            if num_bytes > MAX_BODY_BYTES:
                await _drain(receive)
                raise HTTPException(413, _too_large(num_bytes))
        return message

    return receive_limited


def _too_large(num_bytes: int) -> str:
    return f"Maximum content size limit ({MAX_BODY_BYTES}) exceeded ({num_bytes} bytes read). Upload large contents as files."


async def _drain(receive: Receive) -> None:
    async def take_piece() -> bool:
        message = await receive()
        return message["type"] == "http.request" and message.get("more_body", False)

    await drain(take_piece)


# ── Names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _hostname(netloc: str) -> str:
    """`Host:port` without the port and without the brackets of IPv6, in lower case."""
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0].lower()
    return netloc.partition(":")[0].lower()


def _is_same(origin: str, host: str) -> bool:
    """Whether a page of `origin` came from this server."""
    return urlsplit(origin).netloc.lower() == host.lower()
