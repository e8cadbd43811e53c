"""The Python SDK as a client, whichever version is on the path: a job a line on stdin, its outcome a line on stdout, both JSON as programs.py says.

Runs by itself, without the project: it has to work with every version of the SDK.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import openai

warnings.simplefilter("ignore", DeprecationWarning)
Job = dict[str, Any]


class Handler(openai.AssistantEventHandler):
    """Notes what happens, and cancels the run where the job wants it."""

    def __init__(self, client: openai.OpenAI, job: Job, log: dict[str, Any]) -> None:
        super().__init__()
        self._client, self._job, self._log = client, job, log
        self._is_cancelled = False

    def on_event(self, event: Any) -> None:
        self._log["events"].append(event.event)

    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self._log["snapshots"] += 1
        mark = self._job.get("cancel_at")
        if mark and not self._is_cancelled and mark in snapshot.value:
            self._is_cancelled = True
            self._client.beta.threads.runs.cancel(self.current_run.id, thread_id=self._job["thread_id"])

    def on_text_done(self, text: Any) -> None:
        self._log["texts"].append(text.value)

    def on_run_step_done(self, run_step: Any) -> None:
        self._log["done_steps"].append(plain(run_step))


def follow(client: openai.OpenAI, job: Job, log: dict[str, Any]) -> Job:
    """runs.stream, and submit_tool_outputs_stream as long as the run wants outputs."""
    runs, thread_id = client.beta.threads.runs, job["thread_id"]
    with runs.stream(thread_id=thread_id, assistant_id=job["assistant_id"], event_handler=Handler(client, job, log), **job.get("options", {})) as stream:
        stream.until_done()
    run, steps, messages = stream.current_run, final(stream.get_final_run_steps), final(stream.get_final_messages)
    while run.status == "requires_action" and "output" in job:
        outputs = [{"tool_call_id": call.id, "output": job["output"]} for call in run.required_action.submit_tool_outputs.tool_calls]
        with runs.submit_tool_outputs_stream(run_id=run.id, thread_id=thread_id, tool_outputs=outputs, event_handler=Handler(client, job, log)) as stream:
            stream.until_done()
        run, messages = stream.current_run, messages + final(stream.get_final_messages)
        steps = steps + final(stream.get_final_run_steps)
    return {"run": plain(run), "steps": [plain(step) for step in steps], "messages": [plain(message) for message in messages]}


def poll(client: openai.OpenAI, job: Job, log: dict[str, Any]) -> Job:
    runs, thread_id = client.beta.threads.runs, job["thread_id"]
    run = runs.create_and_poll(thread_id=thread_id, assistant_id=job["assistant_id"], **job.get("options", {}))
    if run.status == "requires_action" and "output" in job:
        outputs = [{"tool_call_id": call.id, "output": job["output"]} for call in run.required_action.submit_tool_outputs.tool_calls]
        run = runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=thread_id, tool_outputs=outputs)
    return {"run": plain(run)}


def upload(client: openai.OpenAI, job: Job, log: dict[str, Any]) -> Job:
    """upload_and_poll of a vector store's files, and of its batches."""
    store = client.vector_stores.create(name="docs")
    one = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("a.txt", job["text"].encode()))
    files = [(f"{number}.txt", f"{job['text']} {number}".encode()) for number in range(3)]
    batch = client.vector_stores.file_batches.upload_and_poll(vector_store_id=store.id, files=files)
    return {"file": plain(one), "batch": plain(batch), "store": plain(client.vector_stores.retrieve(store.id))}


def upload_in_parts(client: openai.OpenAI, job: Job, log: dict[str, Any]) -> Job:
    content = job["text"].encode()
    done = client.uploads.upload_file_chunked(
        file=content, filename="a.txt", bytes=len(content), mime_type="text/plain", purpose="assistants", part_size=job["part_size"]
    )
    return {"upload": plain(done), "content": client.files.content(done.file.id).read().decode()}


def final(snapshots: Callable[[], list[Any]]) -> list[Any]:
    """The SDK raises when a stream brought none."""
    try:
        return snapshots()
    except RuntimeError:
        return []


def plain(thing: Any) -> Any:
    return json.loads(thing.to_json())


WAYS: dict[str, Callable[[openai.OpenAI, Job, dict[str, Any]], Job]] = {"follow": follow, "poll": poll, "upload": upload, "upload_in_parts": upload_in_parts}


def carry_out(job: Job) -> Job:
    log: dict[str, Any] = {"events": [], "texts": [], "done_steps": [], "snapshots": 0}
    with openai.OpenAI(base_url=job["url"], api_key="none", max_retries=0, timeout=15) as client:
        try:
            return {**WAYS[job["way"]](client, job, log), **log}
        except Exception as error:  # noqa: BLE001 whatever it was, it is the outcome
            return {**log, "error": str(error), "error_class": type(error).__name__}


def main() -> None:
    print(json.dumps({"version": openai.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(carry_out(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
