"""A server that is killed with -9 and started again: what was acknowledged is there, and no run hangs."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.beta import Assistant, Thread

from tests.acceptance.conversation import MODEL, follow
from tests.acceptance.server_process import ServerProcess

pytestmark = [pytest.mark.model, pytest.mark.timeout(180)]

RUN_TIMEOUT_S = 60


def talker(client: openai.OpenAI) -> Assistant:
    return client.beta.assistants.create(model=MODEL, instructions="You tell stories.", name="Teller", temperature=0)


def thread_of(client: openai.OpenAI, text: str) -> Thread:
    return client.beta.threads.create(messages=[{"role": "user", "content": text}], metadata={"kept": "yes"})


def everything(client: openai.OpenAI, thread: Thread) -> list[Any]:
    """The thread, its messages, its runs and their steps."""
    runs = list(client.beta.threads.runs.list(thread.id))
    steps = [step for run in runs for step in client.beta.threads.runs.steps.list(run.id, thread_id=thread.id)]
    return [client.beta.threads.retrieve(thread.id), *client.beta.threads.messages.list(thread.id), *runs, *steps]


def test_a_thread_is_whole_after_a_kill_and_goes_on(own_server: ServerProcess) -> None:
    client = own_server.client()
    assistant, thread = talker(client), thread_of(client, "Tell of the sea.")
    follow(client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, max_completion_tokens=256, stream=True))
    acknowledged = client.beta.threads.messages.create(thread.id, role="user", content="And of a ship: Füße 🦜")
    before = everything(client, thread)

    own_server.kill()
    client = own_server.start().client()

    assert everything(client, thread) == before
    assert client.beta.assistants.retrieve(assistant.id) == assistant
    assert client.beta.threads.messages.list(thread.id).data[0] == acknowledged
    told = follow(client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, max_completion_tokens=256, stream=True))
    assert told.text
    assert told.ended.status in {"completed", "incomplete"}
    assert len(client.beta.threads.messages.list(thread.id).data) == 4


def test_a_run_that_was_streaming_ends_after_a_kill(own_server: ServerProcess) -> None:
    client = own_server.client()
    assistant, thread = talker(client), thread_of(client, "Tell a long story of the sea.")
    events = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, max_completion_tokens=256, stream=True)
    names = [event.event for event, _ in zip(events, range(12), strict=False)]
    assert "thread.message.delta" in names

    own_server.kill()
    client = own_server.start().client().with_options(timeout=RUN_TIMEOUT_S)

    [run] = client.beta.threads.runs.list(thread.id).data
    ended = client.beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=200, timeout=RUN_TIMEOUT_S)
    messages = client.beta.threads.messages.list(thread.id).data
    assert ended.status in {"completed", "incomplete", "failed"}
    assert ended.status != "failed" or ended.last_error
    assert [message.role for message in messages if message.status == "in_progress"] == []
    client.beta.threads.messages.create(thread.id, role="user", content="Thank you.")


def test_an_open_stream_is_cut_by_a_kill_and_does_not_hang(own_server: ServerProcess) -> None:
    client = own_server.client()
    assistant, thread = talker(client), thread_of(client, "Tell a long story of the sea.")
    events = iter(client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, max_completion_tokens=256, stream=True))
    while next(events).event != "thread.message.delta":
        pass

    own_server.kill()

    with pytest.raises(openai.APIConnectionError):
        list(events)
