"""How answers leave the server."""

from __future__ import annotations

import socket
import statistics
import time

import httpx

from offline_assistants.server import listen
from tests.api.conftest import LiveServer


def test_no_part_of_an_answer_waits_for_the_client_to_acknowledge_the_one_before(server: LiveServer) -> None:
    """40 ms for every answer on a connection that is kept open: Nagle's algorithm against delayed acknowledgements."""
    durations: list[float] = []
    with httpx.Client(base_url=server.url) as client:
        for _ in range(15):
            began = time.perf_counter()
            client.get("models")
            durations.append(time.perf_counter() - began)

    assert statistics.median(durations) < 0.03


def test_connections_send_at_once() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()

        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        accepted.close()
