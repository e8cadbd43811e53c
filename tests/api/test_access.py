"""Who may come in: hosts, origins, keys, and what is refused before it is read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from offline_assistants.errors import OfflineAssistantsError
from tests.api.conftest import LiveServer

ORIGIN = "https://app.example"


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[tuple[LiveServer, str]]:
    """A server that requires keys, and a key to it."""
    live = LiveServer(tmp_path / "data").start()
    key = live.make_key("blue")
    live.stop()
    live.settings["require_keys"] = True
    live.start()
    yield live, key
    live.stop()


@pytest.fixture
def open_to_pages(tmp_path: Path) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path / "data", settings={"allow_origin": [ORIGIN]}).start()
    yield live
    live.stop()


def error_of(response: httpx.Response) -> dict[str, Any]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


# ── Keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_required_key_opens_the_door(locked: tuple[LiveServer, str]) -> None:
    live, key = locked

    bearer = httpx.get(f"{live.url}/assistants", headers={"authorization": f"Bearer {key}"})
    azure = httpx.get(f"{live.url}/assistants", headers={"api-key": key})

    assert (bearer.status_code, azure.status_code) == (200, 200)


@pytest.mark.parametrize("path", ["/assistants", "/threads/thread_x", "/files", "/models", "/nowhere"])
def test_a_wrong_key_is_refused_everywhere(locked: tuple[LiveServer, str], path: str) -> None:
    response = httpx.get(locked[0].url + path, headers={"authorization": "Bearer sk-oa-1234567890abcdefgh"})

    assert response.status_code == 401
    assert error_of(response)["code"] == "invalid_api_key"
    assert error_of(response)["message"].startswith("Incorrect API key provided: sk-o***efgh.")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic YTpi"}, {"api-key": ""}])
def test_no_key_is_refused_with_what_to_do(locked: tuple[LiveServer, str], headers: dict[str, str]) -> None:
    response = httpx.get(f"{locked[0].url}/assistants", headers=headers)

    assert response.status_code == 401
    assert error_of(response)["message"].startswith("You didn't provide an API key. You need to provide your API key in an Authorization header")


def test_the_sdk_takes_a_wrong_key_as_what_it_is(locked: tuple[LiveServer, str]) -> None:
    with openai.OpenAI(base_url=locked[0].url, api_key="sk-wrong", max_retries=0) as client, pytest.raises(openai.AuthenticationError):
        client.beta.assistants.list()


def test_a_revoked_key_is_refused_at_once(locked: tuple[LiveServer, str]) -> None:
    live, key = locked
    with live.admin() as admin:
        [kept] = admin.get("/admin/keys").json()["data"]
        revoked = admin.delete(f"/admin/keys/{kept['id']}")
        again = admin.delete(f"/admin/keys/{kept['id']}")

    assert (revoked.status_code, again.status_code) == (200, 404)
    assert httpx.get(f"{live.url}/assistants", headers={"authorization": f"Bearer {key}"}).status_code == 401


def test_a_key_is_nowhere_to_be_read_again(locked: tuple[LiveServer, str]) -> None:
    live, key = locked
    httpx.get(f"{live.url}/assistants", headers={"authorization": f"Bearer {key}"})
    with live.admin() as admin:
        listed = admin.get("/admin/keys")
    live.stop()

    [shown] = listed.json()["data"]
    assert key not in listed.text
    assert (shown["project"], shown["hint"]) == ("blue", f"{key[:10]}...{key[-4:]}")
    assert shown["last_used_at"] is not None
    assert [path for path in live.data_dir.rglob("*") if path.is_file() and key.encode() in path.read_bytes()] == []


def test_where_keys_are_required_there_has_to_be_one(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data", settings={"require_keys": True})

    with pytest.raises(OfflineAssistantsError, match="keys create"):
        live.try_to_open()


def test_any_key_will_do_where_none_is_required(server: LiveServer) -> None:
    answers = [httpx.get(f"{server.url}/assistants", headers=headers) for headers in ({}, {"authorization": "Bearer anything"}, {"api-key": "x"})]

    assert [answer.status_code for answer in answers] == [200, 200, 200]


@pytest.mark.parametrize("path", ["/admin/keys", "/admin/nowhere"])
def test_commands_are_not_answered_over_the_network(server: LiveServer, path: str) -> None:
    response = httpx.get(server.url.removesuffix("/v1") + path)

    assert response.status_code == 404
    assert error_of(response)["message"] == f"Invalid URL (GET {path})"


# ── Pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": ORIGIN},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_pages_of_other_origins_change_nothing(server: LiveServer, headers: dict[str, str]) -> None:
    response = httpx.post(f"{server.url}/threads", json={}, headers=headers)

    assert response.status_code == 403
    assert error_of(response)["type"] == "invalid_request_error"


def test_a_page_of_this_server_is_let_in(server: LiveServer) -> None:
    own = server.url.removesuffix("/v1")

    assert httpx.post(f"{server.url}/threads", json={}, headers={"origin": own, "sec-fetch-site": "same-origin"}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "", "127.0.0.1.evil.example", "localhost.evil.example"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_names_are_refused(server: LiveServer, host: str, method: str) -> None:
    assert httpx.request(method, f"{server.url}/threads", headers={"host": host}).status_code == 421


def test_no_other_origin_reads_anything_unless_it_was_allowed(server: LiveServer) -> None:
    response = httpx.get(f"{server.url}/assistants", headers={"origin": ORIGIN})

    assert "access-control-allow-origin" not in response.headers
    assert response.headers["cross-origin-resource-policy"] == "same-origin"


def test_an_allowed_origin_asks_beforehand_and_reads(open_to_pages: LiveServer) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type,openai-beta"}
    preflight = httpx.options(f"{open_to_pages.url}/threads", headers={"origin": ORIGIN, **asked})
    response = httpx.post(f"{open_to_pages.url}/threads", json={}, headers={"origin": ORIGIN, "sec-fetch-site": "cross-site"})

    assert preflight.status_code == 204
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == asked["access-control-request-headers"]
    assert [each.headers["access-control-allow-origin"] for each in (preflight, response)] == [ORIGIN, ORIGIN]
    assert (response.status_code, response.headers["vary"]) == (200, "Origin")


def test_another_origin_stays_outside(open_to_pages: LiveServer) -> None:
    headers = {"origin": "https://other.example", "access-control-request-method": "POST"}
    preflight = httpx.options(f"{open_to_pages.url}/threads", headers=headers)

    assert preflight.status_code == 403
    assert "access-control-allow-origin" not in preflight.headers


def test_every_answer_is_marked(server: LiveServer) -> None:
    answers = [httpx.get(server.url + path) for path in ("/assistants", "/assistants/asst_x", "/nowhere")]

    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"].startswith("req_")


def test_a_page_that_was_uploaded_is_no_page_of_this_server(client: openai.OpenAI, server: LiveServer) -> None:
    file = client.files.create(file=("a.html", b"<script>alert(1)</script>"), purpose="assistants")

    response = httpx.get(f"{server.url}/files/{file.id}/content")

    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"].startswith("attachment")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in response.headers["content-security-policy"]


# ── Bodies and versions ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_large_body_is_refused_before_it_is_sent(server: LiveServer) -> None:
    host, port = server.url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"POST /v1/threads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n{")
        answer = connection.recv(4096)

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_of_unknown_length_is_stopped(server: LiveServer) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 2**20

    response = httpx.post(f"{server.url}/threads", content=chunks(), headers={"content-type": "application/json"}, timeout=15)

    assert response.status_code == 413
    assert error_of(response)["message"].startswith("Maximum content size limit")


def test_version_1_is_not_served_and_version_2_need_not_be_named(server: LiveServer) -> None:
    answers = [httpx.get(f"{server.url}/assistants", headers=headers) for headers in ({"openai-beta": "assistants=v1"}, {"openai-beta": "assistants=v2"}, {})]

    assert [answer.status_code for answer in answers] == [400, 200, 200]
    assert error_of(answers[0])["code"] == "invalid_beta"
