"""Whatever is sent as a body, to whichever route: the answer is the API's own envelope, and never a failure of the server."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.api.conftest import LiveServer

DEEP = 100_000
BODIES = {
    "nothing that is JSON": b"{bad",
    "cut off": b'{"model": "scripted"',
    "an array": b"[]",
    "a string": b'"text"',
    "null": b"null",
    "no UTF-8": b'{"model": "\xff"}',
    "half a surrogate pair": b'{"model": "scripted", "name": "\\ud800", "metadata": {"\\udfff": "a"}}',
    "no number": b'{"model": "scripted", "temperature": NaN}',
    "infinity": b'{"model": "scripted", "metadata": {"a": -Infinity}}',
    "a number beyond all": b'{"model": "scripted", "temperature": 1e999}',
    "a huge integer": b'{"model": "scripted", "temperature": ' + b"9" * 5000 + b"}",
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"metadata":' * DEEP + b"1" + b"}" * DEEP,
    "deep in a free field": b'{"model": "scripted", "tools": [{"type": "function", "function": {"name": "f", "parameters": '
    + b'{"a":' * 2000
    + b"1"
    + b"}" * 2000
    + b"}}]}",
    "a zero byte": b"\x00",
    "a mark of byte order": b"\xef\xbb\xbf{}",
}


def writing_routes(server: LiveServer) -> Iterator[str]:
    """All that take JSON, with ids that there are not."""
    for path, operations in httpx.get(f"{server.url.removesuffix('/v1')}/openapi.json").json()["paths"].items():
        content = operations.get("post", {}).get("requestBody", {}).get("content", {})
        if "application/json" in content:
            yield re.sub(r"\{\w+\}", "id_X", path).removeprefix("/v1")


@pytest.mark.timeout(90)
def test_a_body_that_is_no_json_of_ours_is_400_everywhere(server: LiveServer) -> None:
    wrong: list[object] = []
    with httpx.Client() as client:
        for path in writing_routes(server):
            for name, body in BODIES.items():
                response = client.post(server.url + path, content=body, headers={"content-type": "application/json"})
                error = response.json().get("error", {})
                is_fine = name == "null" and response.status_code in (200, 404)  # a body that may be left out may be null
                if not is_fine and (response.status_code != 400 or set(error) != {"message", "type", "param", "code"}):
                    wrong.append((path, name, response.status_code, response.text[:200]))

    assert wrong == []


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "\xff", ""])
def test_a_body_that_does_not_say_json_is_refused(server: LiveServer, content_type: str) -> None:
    response = httpx.post(f"{server.url}/assistants", content=b'{"model": "scripted"}', headers={"content-type": content_type.encode("latin-1")})

    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("text", ["a\x00b", "\u202e\ufffe", "🦙" * 200, "\x7f\x1b[31m", "\\u0000", "'; --"])
def test_odd_text_comes_back_as_it_went_in(server: LiveServer, text: str) -> None:
    made = httpx.post(f"{server.url}/assistants", json={"model": "scripted", "instructions": text, "metadata": {text[:64]: text}}).json()
    found = httpx.get(f"{server.url}/assistants/{made['id']}").json()

    assert (found["instructions"], found["metadata"]) == (text, {text[:64]: text})


@pytest.mark.parametrize("object_id", ["%00", "%ff", "a%0Ab", "x" * 5000, "%F0%9F%A6%99", "..%2f..%2fetc", "%22%27"])
@pytest.mark.parametrize("path", ["assistants/{}", "files/{}", "files/{}/content", "vector_stores/{}/files/{}", "threads/{}/messages/{}", "uploads/{}/cancel"])
def test_odd_ids_are_not_found(server: LiveServer, path: str, object_id: str) -> None:
    method = "POST" if path.startswith("uploads") else "GET"

    response = httpx.request(method, f"{server.url}/{path.replace('{}', object_id)}")

    assert response.status_code == 404
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("query", ["after=%00", "before=%ff", "limit=" + "9" * 5000, "limit=1.5", "limit=", "limit=%00", "order=", "after=" + "x" * 5000])
@pytest.mark.parametrize("path", ["assistants", "vector_stores", "files"])
def test_odd_queries_are_refused(server: LiveServer, path: str, query: str) -> None:
    response = httpx.get(f"{server.url}/{path}?{query}")

    assert response.status_code in ((200, 400, 404) if "before" in query and path == "files" else (400, 404))
    assert "error" in response.json() or path == "files"


def test_numbers_that_json_schemas_need_are_kept(server: LiveServer) -> None:
    limits = {"maximum": 2**64 - 1, "minimum": -(2**63), "multipleOf": 1e-9, "exclusiveMaximum": 10**200}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": limits}}}}

    made = httpx.post(f"{server.url}/assistants", json={"model": "scripted", "tools": [tool]}).json()

    assert httpx.get(f"{server.url}/assistants/{made['id']}").json()["tools"] == [tool]
