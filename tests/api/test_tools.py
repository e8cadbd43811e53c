"""file_search and code_interpreter, as a client sees them in steps, messages and streams."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import openai
import pytest
from openai.types.beta import Assistant, Thread

from offline_assistants.ports import ExecutionEnded, FileMade, Image, Logs
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox

CODE = [{"type": "code_interpreter"}]
SEARCH = [{"type": "file_search"}]
HANDBOOK = """# Handbook

The office opens at nine in the morning. Dogs are welcome on Fridays.

The llama paddock behind the warehouse is closed from November to March, because the ground is too soft for visitors.
"""
CONTENT = "step_details.tool_calls[*].file_search.results[*].content"


def ask(client: openai.OpenAI, assistant: Assistant, thread: Thread, **options: Any) -> list[Any]:
    return list(client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True, **options))


def newest(client: openai.OpenAI, thread: Thread) -> Any:
    return client.beta.threads.messages.list(thread.id, limit=1).data[0]


def handbook_store(client: openai.OpenAI) -> str:
    store = client.vector_stores.create(name="docs")
    done = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("handbook.md", HANDBOOK.encode()), poll_interval_ms=20)
    assert done.status == "completed"
    return store.id


def searching_thread(client: openai.OpenAI, store_id: str) -> Thread:
    return client.beta.threads.create(
        messages=[{"role": "user", "content": "When is the paddock closed?"}], tool_resources={"file_search": {"vector_store_ids": [store_id]}}
    )


# ── code_interpreter ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_session_gets_back_what_the_threads_code_made(
    client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread
) -> None:
    for made in (b"1", b"2"):
        engine.will_call("code_interpreter", "save()")
        engine.will_say("Saved.")
        sandbox.will_emit([FileMade("/mnt/data/out/a.csv", made)])
        ask(client, assistant, thread, tools=CODE)
    sandbox.lose_sessions()
    engine.will_call("code_interpreter", "load()")
    engine.will_say("Loaded.")

    ask(client, assistant, thread, tools=CODE)

    assert [(call.restored, call.has_run_before) for call in sandbox.calls] == [((), False), ((), False), (("/mnt/data/out/a.csv",), True)]
    assert sandbox.restored == {"/mnt/data/out/a.csv": b"2"}


def test_a_session_is_prepared_while_the_model_thinks(
    client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread
) -> None:
    engine.will_say("No code needed.")

    ask(client, assistant, thread, tools=CODE)

    assert sandbox.num_warmed > 0


def test_code_runs_and_its_output_is_in_the_step(
    client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread
) -> None:
    engine.will_call("code_interpreter", "print(6 * 7)")
    engine.will_say("It is 42.")
    sandbox.will_emit([Logs("4"), Logs("2\n")])

    events = ask(client, assistant, thread, tools=CODE)

    step = next(event.data for event in events if event.event == "thread.run.step.completed")
    call = step.step_details.tool_calls[0].code_interpreter
    assert call.input == "print(6 * 7)"
    assert [output.logs for output in call.outputs] == ["42\n"]
    assert engine.chats[-1].messages[-1].content == "42"
    assert sandbox.calls[0].thread_id == thread.id


def test_the_code_and_its_logs_stream(client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread) -> None:
    engine.will_call("code_interpreter", "print('a b')")
    sandbox.will_emit([Logs("a "), Logs("b\n")])

    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, tools=CODE) as stream:
        stream.until_done()

    snapshot = stream.get_final_run_steps()[0].step_details.tool_calls[0].code_interpreter
    assert snapshot.input == "print('a b')"
    assert snapshot.outputs[0].logs == "a b\n"


def test_a_shown_image_comes_before_the_text(
    client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread
) -> None:
    engine.will_call("code_interpreter", "plot()")
    engine.will_say("Here it is.")
    sandbox.will_emit([Image(b"\x89PNG picture", "figure.png")])

    events = ask(client, assistant, thread, tools=CODE)

    image, text = newest(client, thread).content
    assert client.files.content(image.image_file.file_id).read() == b"\x89PNG picture"
    assert text.text.value == "Here it is."
    deltas = [event.data.delta.content[0] for event in events if event.event == "thread.message.delta"]
    assert [(delta.index, delta.type) for delta in deltas][:2] == [(0, "image_file"), (1, "text")]


@pytest.mark.parametrize("said", ["Saved at sandbox:/mnt/data/out.csv for you.", "Saved at /mnt/data/out.csv.", "I wrote out.csv."])
def test_a_file_that_code_made_is_linked_where_the_answer_names_it(
    client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread, said: str
) -> None:
    engine.will_call("code_interpreter", "save()")
    engine.will_say(said)
    sandbox.will_emit([FileMade("/mnt/data/out.csv", b"a,b\n1,2\n")])

    ask(client, assistant, thread, tools=CODE)

    message = newest(client, thread)
    [annotation] = message.content[0].text.annotations
    assert said[annotation.start_index : annotation.end_index] == annotation.text
    assert client.files.content(annotation.file_path.file_id).read() == b"a,b\n1,2\n"
    assert client.files.retrieve(annotation.file_path.file_id).purpose == "assistants_output"
    assert message.attachments[0].file_id == annotation.file_path.file_id


def test_uploaded_files_reach_the_code(client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread) -> None:
    file = client.files.create(file=("sales.csv", b"day;units\n1;2\n"), purpose="assistants")
    client.beta.threads.messages.create(thread.id, role="user", content="Sum it.", attachments=[{"file_id": file.id, "tools": [{"type": "code_interpreter"}]}])
    engine.will_call("code_interpreter", "1")

    ask(client, assistant, thread, tools=CODE)

    assert sandbox.calls[0].file_ids == (file.id,)
    assert 'Files: "/mnt/data/sales.csv" (columns "day", "units", separated by ";").' in engine.chats[0].tools[0].description


def test_a_file_that_is_larger_than_a_session_is_named_to_the_model_and_never_read(
    client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread
) -> None:
    contents = {"huge.bin": bytes(268_500_000), "small.csv": b"a\n1\n"}
    files = {name: client.files.create(file=(name, content), purpose="assistants") for name, content in contents.items()}
    attachments: Any = [{"file_id": file.id, "tools": [{"type": "code_interpreter"}]} for file in files.values()]
    client.beta.threads.messages.create(thread.id, role="user", content="Look.", attachments=attachments)
    engine.will_call("code_interpreter", "1")

    ask(client, assistant, thread, tools=CODE)

    assert sandbox.calls[0].file_ids == (files["small.csv"].id,)
    assert "The file huge.bin could not be placed in /mnt/data: it has 268 MB" in engine.chats[-1].messages[-1].content


@pytest.mark.parametrize(
    ("events", "words"),
    [([Logs("The session hung and was ended."), ExecutionEnded("timeout", is_state_lost=True)], "was ended"), ([Logs("Traceback: KeyError")], "KeyError")],
)
def test_what_goes_wrong_in_the_code_is_told_to_the_model(
    client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread, events: Sequence[Any], words: str
) -> None:
    engine.will_call("code_interpreter", "x")
    sandbox.will_emit(events)

    last = ask(client, assistant, thread, tools=CODE)[-1]

    assert last.event == "thread.run.completed"
    assert words in engine.chats[-1].messages[-1].content


def test_without_docker_the_step_says_so_and_the_run_goes_on(
    client: openai.OpenAI, engine: ScriptedEngine, sandbox: ScriptedSandbox, assistant: Assistant, thread: Thread
) -> None:
    sandbox.missing = "No container engine answers. Start Docker."
    engine.will_call("code_interpreter", "1")
    engine.will_say("I could not run it.")

    last = ask(client, assistant, thread, tools=CODE)[-1]

    steps = client.beta.threads.runs.steps.list(last.data.id, thread_id=thread.id, order="asc").data
    assert last.data.status == "completed"
    assert "Start Docker" in steps[0].step_details.tool_calls[0].code_interpreter.outputs[0].logs


# ── file_search ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_from_a_document_cites_words_that_are_in_it(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant) -> None:
    thread = searching_thread(client, handbook_store(client))
    engine.will_call("file_search", '{"query": "paddock closed"}')
    engine.will_say("The llama paddock is closed from November to March. Have a nice day!")

    ask(client, assistant, thread, tools=SEARCH)

    text = newest(client, thread).content[0].text
    [annotation] = text.annotations
    citation = annotation.file_citation
    assert text.value[annotation.start_index : annotation.end_index] == annotation.text == "【0:0†source】"
    assert text.value.startswith("The llama paddock is closed from November to March.【")
    assert citation.quote in HANDBOOK
    assert "November to March" in citation.quote
    assert HANDBOOK[citation.start_char : citation.end_char] == citation.quote


def test_citations_stream_as_the_sdk_digests_them(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant) -> None:
    thread = searching_thread(client, handbook_store(client))
    engine.will_call("file_search", '{"query": "paddock closed"}')
    engine.will_say("The llama paddock is closed from November to March. Dogs are welcome on Fridays.")

    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, tools=SEARCH) as stream:
        stream.until_done()

    streamed = stream.get_final_messages()[0].content[0].text
    stored = newest(client, thread).content[0].text
    assert streamed.value == stored.value
    assert [a.text for a in streamed.annotations] == [a.text for a in stored.annotations]
    assert len(stored.annotations) == 2


def test_the_model_never_reads_its_own_markers_again(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant) -> None:
    thread = searching_thread(client, handbook_store(client))
    engine.will_call("file_search", '{"query": "paddock closed"}')
    engine.will_say("The llama paddock is closed from November to March.")
    ask(client, assistant, thread, tools=SEARCH)
    client.beta.threads.messages.create(thread.id, role="user", content="Thanks.")

    ask(client, assistant, thread, tools=SEARCH)

    said = [message.content for message in engine.chats[-1].messages if message.role == "assistant"]
    assert said[-1] == "The llama paddock is closed from November to March."


def test_a_step_shows_results_and_their_text_only_when_asked(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant) -> None:
    thread = searching_thread(client, handbook_store(client))
    engine.will_call("file_search", '{"query": "paddock closed"}')

    run = ask(client, assistant, thread, tools=SEARCH)[-1].data

    step = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, order="asc").data[0]
    full = client.beta.threads.runs.steps.retrieve(step.id, thread_id=thread.id, run_id=run.id, include=[CONTENT])
    [bare], [result] = (each.step_details.tool_calls[0].file_search.results for each in (step, full))
    assert bare.content is None
    assert 0 <= result.score <= 1
    assert result.content[0].text in HANDBOOK


def test_the_model_sees_what_the_step_lists(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant) -> None:
    engine.context_tokens = 160
    thread = searching_thread(client, handbook_store(client))
    engine.will_call("file_search", '{"query": "paddock closed"}')

    run = ask(client, assistant, thread, tools=SEARCH)[-1].data

    step = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, order="asc", include=[CONTENT]).data[0]
    shown = "".join(c.text for r in step.step_details.tool_calls[0].file_search.results for c in r.content)
    assert run.status == "completed"
    assert shown in engine.chats[-1].messages[-1].content
    assert len(shown) < len(HANDBOOK)


def test_an_attached_file_makes_a_vector_store_that_the_run_waits_for(client: openai.OpenAI, engine: ScriptedEngine, assistant: Assistant) -> None:
    file = client.files.create(file=("handbook.md", HANDBOOK.encode()), purpose="assistants")
    thread = client.beta.threads.create(
        messages=[{"role": "user", "content": "Paddock?", "attachments": [{"file_id": file.id, "tools": [{"type": "file_search"}]}]}]
    )
    engine.will_call("file_search", '{"query": "llama paddock"}')

    ask(client, assistant, thread, tools=SEARCH)

    assert len(client.beta.threads.retrieve(thread.id).tool_resources.file_search.vector_store_ids) == 1
    assert "November" in engine.chats[-1].messages[-1].content


def test_a_file_that_cannot_be_parsed_fails_alone(client: openai.OpenAI) -> None:
    store_id = handbook_store(client)

    damaged = client.vector_stores.files.upload_and_poll(vector_store_id=store_id, file=("scan.pdf", b"%PDF-1.4 nothing"), poll_interval_ms=20)

    store = client.vector_stores.retrieve(store_id)
    assert damaged.status == "failed"
    assert damaged.last_error.code == "invalid_file"
    assert (store.status, store.file_counts.completed, store.file_counts.failed, store.file_counts.total) == ("completed", 1, 1, 2)
    assert client.vector_stores.search(store_id, query="paddock").data[0].filename == "handbook.md"


def test_a_batch_counts_its_files(client: openai.OpenAI) -> None:
    store = client.vector_stores.create()
    files = [(f"{number}.txt", f"Text number {number}.".encode()) for number in range(3)] + [("x.xyz", b"?")]

    batch = client.vector_stores.file_batches.upload_and_poll(store.id, files=files, poll_interval_ms=20)

    assert (batch.status, batch.file_counts.completed, batch.file_counts.failed, batch.file_counts.total) == ("completed", 3, 1, 4)
    assert len(client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id, filter="failed").data) == 1


def test_a_file_taken_out_is_not_found_any_more(client: openai.OpenAI) -> None:
    store_id = handbook_store(client)
    [file] = client.vector_stores.files.list(store_id).data

    client.vector_stores.files.delete(file.id, vector_store_id=store_id)

    assert client.vector_stores.search(store_id, query="paddock").data == []
    assert client.vector_stores.retrieve(store_id).file_counts.total == 0
    assert client.files.retrieve(file.id).status == "processed"


def test_a_deleted_store_is_gone(client: openai.OpenAI) -> None:
    store_id = handbook_store(client)

    client.vector_stores.delete(store_id)

    with pytest.raises(openai.NotFoundError):
        client.vector_stores.retrieve(store_id)


def test_the_canonical_text_can_be_read(client: openai.OpenAI) -> None:
    store_id = handbook_store(client)
    [file] = client.vector_stores.files.list(store_id).data

    body = json.loads(client.vector_stores.files.with_raw_response.content(file.id, vector_store_id=store_id).text)

    assert body["data"][0]["text"] == HANDBOOK
