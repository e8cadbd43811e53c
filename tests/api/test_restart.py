"""What a restart finds again, and what it goes on with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.api.conftest import LiveServer
from tests.api.test_runs import WEATHER, wait_until


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveServer]:
    each = LiveServer(tmp_path / "data").start()
    yield each
    each.engine.release()
    each.stop()


def sdk(live: LiveServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15)


def test_a_thread_is_whole_after_a_restart(live: LiveServer) -> None:
    client = sdk(live)
    assistant = client.beta.assistants.create(model="scripted")
    run = client.beta.threads.create_and_run_poll(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]}, poll_interval_ms=20)
    before = client.beta.threads.messages.list(run.thread_id).data

    live.stop()
    live.start()

    client = sdk(live)
    assert client.beta.threads.messages.list(run.thread_id).data == before
    client.beta.threads.messages.create(run.thread_id, role="user", content="Still there?")
    assert client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=assistant.id, poll_interval_ms=20).status == "completed"


def test_a_run_that_was_under_way_is_done_again(live: LiveServer) -> None:
    client = sdk(live)
    assistant = client.beta.assistants.create(model="scripted")
    live.engine.will_say("Half a").then_wait()
    run = client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]})
    wait_until(lambda: len(client.beta.threads.messages.list(run.thread_id).data) == 2)

    live.stop()
    live.engine.will_say("Half a loaf, and the other half.")
    live.start()

    client = sdk(live)
    done = client.beta.threads.runs.poll(run.id, thread_id=run.thread_id, poll_interval_ms=20)
    answers = [message.content[0].text.value for message in client.beta.threads.messages.list(run.thread_id, run_id=run.id)]
    assert done.status == "completed"
    assert answers == ["Half a loaf, and the other half."]


def test_a_run_that_waits_for_outputs_still_takes_them(live: LiveServer) -> None:
    client = sdk(live)
    assistant = client.beta.assistants.create(model="scripted", tools=[WEATHER])
    live.engine.will_call("get_weather", "{}")
    live.engine.will_say("Rain.")
    run = client.beta.threads.create_and_run_poll(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]}, poll_interval_ms=20)
    [call] = run.required_action.submit_tool_outputs.tool_calls

    live.stop()
    live.start()

    client = sdk(live)
    done = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=[{"tool_call_id": call.id, "output": "rain"}], poll_interval_ms=20
    )
    assert done.status == "completed"
    assert live.engine.chats[-1].messages[-1].content == "rain"


def test_an_open_stream_ends_when_the_server_does(live: LiveServer) -> None:
    client = sdk(live)
    assistant = client.beta.assistants.create(model="scripted")
    live.engine.will_say("One").then_wait()
    stream = client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]}, stream=True)
    events = iter(stream)
    assert next(event for event in events if event.event == "thread.message.delta")

    live.stop()

    with pytest.raises(openai.APIError, match="The server stops"):
        list(events)
    live.start()
