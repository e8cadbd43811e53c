"""How the server hands out the page: without a key, with its policy, by name and never by path."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from offline_assistants.api.playground import FOLDER
from offline_assistants.outbound import OutboundAttempts
from tests.api.conftest import LiveServer
from tests.page.conftest import address

FORBIDDEN = ("203.0.113.1", 9)
"""Of TEST-NET-3: nobody has it."""


def test_the_page_comes_with_a_policy_that_lets_nothing_in(server: LiveServer) -> None:
    response = httpx.get(address(server))

    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "require-trusted-types-for 'script'" in policy and "unsafe" not in policy


def test_every_file_is_served_as_what_it_is(server: LiveServer) -> None:
    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}
    with httpx.Client(base_url=address(server)) as client:
        answers = {path: client.get(f"/playground/{path.name}") for path in FOLDER.iterdir()}

    for path, response in answers.items():
        assert response.content == path.read_bytes()
        assert response.headers["content-type"].split(";")[0] == kinds[path.suffix] and response.headers["x-content-type-options"] == "nosniff"


def test_no_path_leads_out_of_the_folder(server: LiveServer) -> None:
    names = ("", "none.js", "../settings.py", "..%2fsettings.py", "%2e%2e/settings.py", "%2e%2e%2fsettings.py")
    for path in [*(f"/playground/{name}" for name in names), "/index.html"]:
        with socket.create_connection(("127.0.0.1", int(address(server).rpartition(":")[2]))) as raw:
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

            assert raw.makefile("rb").read().startswith(b"HTTP/1.1 404"), path


def test_a_file_that_a_browser_has_is_not_sent_again(server: LiveServer) -> None:
    url = f"{address(server)}/playground/vendor.js"
    etag = httpx.get(url).headers["etag"]

    again = httpx.get(url, headers={"if-none-match": etag})

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


def test_the_page_needs_no_key_and_the_api_does(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "data").start()
    live.make_key()
    live.stop()
    live.settings["require_keys"] = True
    live.start()
    try:
        codes = [httpx.get(address(live) + path).status_code for path in ("/", "/playground/main.js", "/v1/threads", "/v1/network_attempts")]
    finally:
        live.stop()

    assert codes == [200, 200, 401, 401]


def test_no_file_of_the_page_names_another_host() -> None:
    ours = [path for path in FOLDER.iterdir() if path.name not in ("vendor.js", "THIRD_PARTY.txt")]
    named = {path.name: re.findall(r"https?://[\w.]+", path.read_text()) for path in ours}

    assert {name: hosts for name, hosts in named.items() if hosts} == {"icon.svg": ["http://www.w3.org"]}


# ── What the server reached out to ───────────────────────────────────────────────────────────────────────────────────


def test_an_attempt_to_reach_another_machine_is_listed(server: LiveServer, outbound: OutboundAttempts) -> None:
    before = httpx.get(f"{server.url}/network_attempts").json()
    with socket.socket() as attempt:
        attempt.setblocking(False)
        attempt.connect_ex(FORBIDDEN)

    after = httpx.get(f"{server.url}/network_attempts").json()

    assert after["num_attempts"] == before["num_attempts"] + 1
    assert (after["data"][0]["kind"], after["data"][0]["address"]) == ("connect", "203.0.113.1:9")
    assert after["watched_since"] == outbound.since


SCRIPT = """
import json, socket
from offline_assistants.outbound import OutboundAttempts
seen = OutboundAttempts().watch()
def attempt(call, *args):
    try: call(*args)
    except OSError: pass
with socket.create_server(("127.0.0.1", 0)) as here, socket.socket() as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
    attempt(one.connect, here.getsockname())
    attempt(socket.getaddrinfo, "localhost", 80)
    attempt(socket.getaddrinfo, None, 80)
    attempt(two.sendto, b"", ("::1", 9))
    attempt(socket.getaddrinfo, "name.invalid", 443)
    two.setblocking(False)
    attempt(two.sendto, b"", ("203.0.113.1", 9))
seen.stop()
attempt(socket.getaddrinfo, "other.invalid", 443)
print(json.dumps([[each.kind, each.address] for each in seen.newest()]))
"""


def test_what_stays_on_this_machine_is_no_attempt() -> None:
    shown = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout

    assert json.loads(shown) == [["send", "203.0.113.1:9"], ["lookup", "name.invalid:443"]]
