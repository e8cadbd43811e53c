"""Races, limits and bad luck: nothing is lost, and nothing hangs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest
from openai.types.beta import Assistant, Thread

from offline_assistants.errors import EngineError
from offline_assistants.ports import Image, Logs
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.api.conftest import LiveServer
from tests.api.test_runs import WEATHER, wait_until

CODE = [{"type": "code_interpreter"}]
GIB = 2**30


@contextmanager
def serving(data_dir: Path, **settings: object) -> Iterator[tuple[LiveServer, openai.OpenAI]]:
    live = LiveServer(data_dir, settings=settings).start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        yield live, client
    live.engine.release()
    live.stop()


def start_run(client: openai.OpenAI, **options: object):
    assistant = client.beta.assistants.create(model="scripted")
    return client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]}, **options)


def side_by_side(number: int, work: Callable[[int], object]) -> None:
    with ThreadPoolExecutor(number) as pool:
        for done in [pool.submit(work, each) for each in range(number)]:
            done.result()


def test_a_run_ends_although_the_disk_is_full(tmp_path: Path) -> None:
    filler = tmp_path / "filler"
    with serving(tmp_path / "data", min_free_disk_bytes=shutil.disk_usage(tmp_path).free - GIB) as (live, client):
        live.engine.will_say("Said to the end.").then_wait()
        run = start_run(client)
        wait_until(lambda: len(client.beta.threads.messages.list(run.thread_id).data) == 2)

        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 3 * GIB)
        live.engine.release()

        done = client.beta.threads.runs.poll(run.id, thread_id=run.thread_id, poll_interval_ms=20)
        with pytest.raises(openai.InternalServerError, match="disk"):
            client.beta.threads.messages.create(run.thread_id, role="user", content="More?")
        filler.unlink()
        assert done.status == "completed"
        client.beta.threads.messages.create(run.thread_id, role="user", content="More?")


def test_time_spent_computing_is_given_back_to_the_client_that_has_to_answer(tmp_path: Path) -> None:
    with serving(tmp_path / "data", run_expires_after_s=2) as (live, client):
        live.engine.will_wait().then_call("get_weather", "{}")
        run = start_run(client, tools=[WEATHER])
        time.sleep(3)
        live.engine.release()

        waiting = client.beta.threads.runs.poll(run.id, thread_id=run.thread_id, poll_interval_ms=20)
        wait_until(lambda: client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status == "expired")

        assert waiting.status == "requires_action"
        assert waiting.expires_at > run.expires_at


@pytest.mark.timeout(90)
def test_a_command_leaves_the_runs_of_a_stopped_server_alone(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as (live, client):
        live.engine.will_say("Half").then_wait()
        run = start_run(client)
        wait_until(lambda: len(client.beta.threads.messages.list(run.thread_id).data) == 2)
        live.stop()

        environment = {**os.environ, "OFFLINE_ASSISTANTS_DATA_DIR": str(live.data_dir)}
        for _ in range(4):
            subprocess.run([sys.executable, "-m", "offline_assistants", "models", "list"], env=environment, check=True, capture_output=True)
        live.engine.will_say("Whole.")
        live.start()

        again = openai.OpenAI(base_url=live.url, api_key="none", max_retries=0)
        assert again.beta.threads.runs.poll(run.id, thread_id=run.thread_id, poll_interval_ms=20).status == "completed"


def test_attachments_of_parallel_messages_all_arrive(client: openai.OpenAI, thread: Thread) -> None:
    files = [client.files.create(file=(f"{number}.txt", b"text"), purpose="assistants").id for number in range(6)]
    tools = [{"type": "code_interpreter"}, {"type": "file_search"}]

    side_by_side(6, lambda n: client.beta.threads.messages.create(thread.id, role="user", content="x", attachments=[{"file_id": files[n], "tools": tools}]))

    resources = client.beta.threads.retrieve(thread.id).tool_resources
    [store_id] = resources.file_search.vector_store_ids
    assert sorted(resources.code_interpreter.file_ids) == sorted(files)
    wait_until(lambda: client.vector_stores.retrieve(store_id).file_counts.completed == 6)
    assert len(client.vector_stores.list().data) == 1


@pytest.mark.parametrize("name", ["code_interpreter", "file_search"])
def test_a_function_cannot_pass_for_a_built_in_tool(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.beta.assistants.create(model="scripted", tools=[{"type": "function", "function": {"name": name}}])

    assert error.value.body["param"] == "tools"


def test_the_usage_of_a_run_is_the_sum_of_its_steps_however_it_ends(
    client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread
) -> None:
    engine.will_call("code_interpreter", "print(1)")
    engine.will_say("So far").then_fail(EngineError("It fell over."))

    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, tools=CODE, poll_interval_ms=20)

    steps = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    assert run.status == "failed"
    assert run.usage.total_tokens == sum(step.usage.total_tokens for step in steps) > 0


def test_a_cancelled_run_says_what_it_used(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("get_weather", "{}")
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, tools=[WEATHER], poll_interval_ms=20)

    client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
    done = client.beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=20)

    assert done.status == "cancelled"
    assert done.usage.total_tokens > 0


def test_the_newest_messages_are_counted_without_those_of_the_run_itself(
    client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread
) -> None:
    client.beta.threads.messages.create(thread.id, role="user", content="The newest.")
    engine.will_say("Let me see.").then_call("code_interpreter", "print(1)")

    client.beta.threads.runs.create_and_poll(
        thread_id=thread.id,
        assistant_id=assistant.id,
        tools=CODE,
        truncation_strategy={"type": "last_messages", "last_messages": 1},
        poll_interval_ms=20,
    )

    assert [message.content for message in engine.chats[-1].messages if message.role == "user"] == ["The newest."]


def test_a_step_that_waits_for_functions_shows_its_code_too(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("code_interpreter", "print(1)").then_call("get_weather", "{}")

    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, tools=[*CODE, WEATHER], poll_interval_ms=20)

    [step] = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    assert step.status == "in_progress"
    assert step.step_details.tool_calls[0].code_interpreter.input == "print(1)"
    assert step.step_details.tool_calls[1].function.name == "get_weather"


@pytest.mark.parametrize("fields", [{"temperature": "0.5"}, {"parallel_tool_calls": "no"}, {"max_completion_tokens": "300"}, {"stream": 1}])
def test_text_is_not_taken_for_a_number(server: LiveServer, assistant: Assistant, thread: Thread, fields: dict[str, object]) -> None:
    response = httpx.post(f"{server.url}/threads/{thread.id}/runs", json={"assistant_id": assistant.id, **fields})

    assert response.status_code == 400
    assert response.json()["error"] | {"message": ""} == {"message": "", "type": "invalid_request_error", "param": next(iter(fields)), "code": "invalid_type"}


def test_prompt_tokens_have_a_limit_over_all_rounds(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    client.beta.threads.messages.create(thread.id, role="user", content="word " * 200)
    engine.will_call("code_interpreter", "print(1)")

    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, tools=CODE, max_prompt_tokens=300, poll_interval_ms=20)

    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")


def test_an_image_is_shown_once(client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("code_interpreter", "plot(1)")
    engine.will_say("Now again.").then_call("code_interpreter", "plot(2)")
    engine.will_say("Done.")
    for number in (1, 2):
        sandbox.will_emit([Image(b"\x89PNG %d" % number, f"{number}.png"), Logs("ok\n")])

    client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, tools=CODE, poll_interval_ms=20)

    done, again, _ = client.beta.threads.messages.list(thread.id).data
    shown = [[part.image_file.file_id for part in message.content if part.type == "image_file"] for message in (again, done)]
    assert [len(ids) for ids in shown] == [1, 1]
    assert shown[0] != shown[1]


def test_a_name_that_others_on_the_network_can_announce_is_refused(server: LiveServer) -> None:
    assert httpx.get(f"{server.url}/models", headers={"host": "evil.local"}).status_code == 421


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--port", "99999"], "--port"), (["--data-dir", "/tmp/" + "d" * 120], "--data-dir"), (["--data-dir", "/proc/x"], "--data-dir")]
)
def test_a_bad_option_is_one_sentence(arguments: list[str], words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "offline_assistants", "serve", *arguments], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_cancelling_from_many_sides_cancels_once(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread) -> None:
    engine.will_wait()
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    answers: list[str] = []
    lock = threading.Lock()

    def cancel(_: int) -> None:
        try:
            client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
            word = "taken"
        except openai.BadRequestError:
            word = "refused"
        with lock:
            answers.append(word)

    side_by_side(5, cancel)

    assert sorted(answers) == ["refused"] * 4 + ["taken"]
    assert client.beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=20).status == "cancelled"


def test_metadata_that_a_client_gives_a_message_outlives_its_last_word(
    client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant, thread: Thread
) -> None:
    engine.will_say("Hello there")
    with client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True) as events:
        for event in events:
            if event.event == "thread.message.in_progress":
                client.beta.threads.messages.update(event.data.id, thread_id=thread.id, metadata={"seen": "yes"})
            if event.event == "thread.message.completed":
                completed = event.data

    assert client.beta.threads.messages.retrieve(completed.id, thread_id=thread.id).metadata == {"seen": "yes"}
