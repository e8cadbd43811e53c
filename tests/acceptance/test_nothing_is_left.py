"""A server that is stopped or killed, at rest or at work, takes its processes and containers along."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from openai.types.beta import Thread

from tests.acceptance.conversation import events_of_program, program_thread
from tests.acceptance.server_process import ServerProcess, all_processes, wait_until

pytestmark = [pytest.mark.model, pytest.mark.docker, pytest.mark.timeout(180)]

GONE_WITHIN_S = 10

SLEEP = """import time
a = 2
b = 3
print("Sum:", a + b)
time.sleep(50)"""


def start_every_part(client: openai.OpenAI) -> None:
    """Parser, embedder: an indexed file. Engine and container come with the program that runs."""
    store = client.vector_stores.create()
    indexed = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("a.md", b"# A\n\nThe sea is wide."), poll_interval_ms=200)
    assert indexed.status == "completed", indexed.last_error


@contextmanager
def running_program(client: openai.OpenAI, server: ServerProcess) -> Iterator[None]:
    """While it lasts, a container runs code for the model."""
    thread = program_thread(client, question="What is the sum?", program=SLEEP, name="a.csv", content=b"a\n1\n")
    is_printing = threading.Event()
    following = threading.Thread(target=follow_until_cut, args=(client, thread, is_printing), daemon=True)
    following.start()
    assert is_printing.wait(90), server.log
    assert server.containers()
    yield
    following.join(30)
    assert not following.is_alive()


def follow_until_cut(client: openai.OpenAI, thread: Thread, is_printing: threading.Event) -> None:
    """Tells when the program has printed something. The server goes while it runs, which is what the test is about."""
    with contextlib.suppress(openai.APIError):
        for event in events_of_program(client, thread):
            if "Sum:" in logs_of(event):
                is_printing.set()


def logs_of(event: Any) -> str:
    """What the program prints with this event."""
    if event.event != "thread.run.step.delta" or event.data.delta.step_details.type != "tool_calls":
        return ""
    outputs = [output for call in event.data.delta.step_details.tool_calls for output in call.code_interpreter.outputs or []]
    return "".join(output.logs for output in outputs if output.type == "logs")


@pytest.mark.parametrize("end", [ServerProcess.stop, ServerProcess.kill], ids=["SIGTERM", "SIGKILL"])
def test_no_process_and_no_container_outlives_the_server(own_server: ServerProcess, end: Callable[[ServerProcess], None]) -> None:
    client = own_server.client()
    start_every_part(client)
    with running_program(client, own_server):
        family = own_server.processes()
        assert family >= own_server.family()
        assert len(family) >= 3, "server, engine, embedder"

        end(own_server)

    assert wait_until(lambda: not family & all_processes(), GONE_WITHIN_S), family & all_processes()
    assert wait_until(lambda: not own_server.processes(), GONE_WITHIN_S), own_server.processes()
    assert wait_until(lambda: not own_server.containers(), GONE_WITHIN_S), own_server.containers()
