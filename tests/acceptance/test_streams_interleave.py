"""Two clients stream from two threads at the same time."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.conversation import MODEL
from tests.acceptance.server_process import ServerProcess

pytestmark = [pytest.mark.model, pytest.mark.timeout(120)]


def times_of_deltas(server: ServerProcess, topic: str, together: threading.Barrier) -> list[float]:
    """When each piece of an answer reached a client of its own."""
    with server.client() as client:
        assistant = client.beta.assistants.create(model=MODEL, instructions="You tell stories.", temperature=0)
        thread = client.beta.threads.create(messages=[{"role": "user", "content": f"Tell a story of {topic}."}])
        together.wait(30)
        events = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, max_completion_tokens=256, stream=True)
        return [time.monotonic() for event in events if event.event == "thread.message.delta"]


def test_two_streams_come_interleaved(shared_server: ServerProcess) -> None:
    together = threading.Barrier(2)

    with ThreadPoolExecutor(2) as clients:
        first, second = clients.map(lambda topic: times_of_deltas(shared_server, topic, together), ["the sea", "a mountain"])

    assert min(len(first), len(second)) > 20
    merged = sorted([(at, 1) for at in first] + [(at, 2) for at in second])
    num_switches = sum(a != b for (_, a), (_, b) in itertools.pairwise(merged))
    assert first[0] < second[-1] and second[0] < first[-1]
    assert num_switches > 10
