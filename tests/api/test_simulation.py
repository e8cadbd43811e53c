"""A server that is used at random, and stopped or killed at random moments. This file is also the program that is killed.

Whatever happens: no run hangs, no message is there twice, statuses move along the table only, and what ended stays as it ended.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, get_args

import openai
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from offline_assistants.bootstrap import build_app
from offline_assistants.domain.objects import ACTIVE, RunStatus
from offline_assistants.domain.run_state import TRANSITIONS
from offline_assistants.errors import EngineError
from offline_assistants.ports import Chat, Delta, RawPrompt, SamplingParams
from offline_assistants.server import serve
from offline_assistants.settings import Settings
from offline_assistants.testing.hash_documents import HashDocuments
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.api.test_runs import WEATHER

START_TIMEOUT_S, END_TIMEOUT_S = 60, 30
MAX_RESTARTS = 2
COMMANDS = ("say", "call", "both", "code", "wait", "fail", "long")
TOOLS: Any = [WEATHER, {"type": "code_interpreter"}]


class Player(ScriptedEngine):
    """What a run does stands in the newest message of its thread ("call 7"), so that it does the same when it is done again."""

    async def generate(self, model: str, prompt: Chat | RawPrompt, sampling: SamplingParams) -> AsyncGenerator[Delta]:
        assert isinstance(prompt, Chat)
        newest = max(index for index, message in enumerate(prompt.messages) if message.role == "user")
        self._script(prompt.messages[newest].content, has_result=any(message.role == "tool" for message in prompt.messages[newest:]))
        async for delta in super().generate(model, prompt, sampling):
            yield delta

    def _script(self, text: str, *, has_result: bool) -> None:
        command, number = text.split()
        if has_result:
            self.will_say(f"Answer {number}.")
            return
        turn = self.will_say(f"Begun {number}.")
        match command:
            case "call":
                turn.then_call("get_weather", "{}")
            case "both":
                turn.then_call("code_interpreter", "print(1)").then_call("get_weather", "{}")
            case "code":
                turn.then_call("code_interpreter", "print(1)")
            case "wait":
                turn.then_wait()
            case "fail":
                turn.then_fail(EngineError("It fell over."))
            case "long":
                turn.then_say("word " * 300)
            case _:
                pass


async def main(data_dir: Path, port: int, *, is_released: bool) -> None:
    engine = Player()
    if is_released:
        engine.release()
    with socket.create_server(("127.0.0.1", port)) as listener:
        parts: Any = {"engines": engine, "documents": HashDocuments(), "sandbox": ScriptedSandbox()}
        async with build_app(Settings(data_dir=data_dir, min_free_disk_bytes=0), **parts) as opened:
            print(f"ready {listener.getsockname()[1]}", flush=True)
            await serve(opened, [listener])


def reachable() -> dict[str, set[str]]:
    """From each status, those that a run may have when it is seen next."""
    found: dict[str, set[str]] = {status: {status} for status in get_args(RunStatus)}
    for _ in TRANSITIONS:
        for status, arrows in TRANSITIONS.items():
            found[status] |= {later for target in arrows.values() for later in found[target]}
    return found


REACHABLE = reachable()


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="simulation-"))
        self.seen: dict[str, str] = {}
        """Run id -> the status that was seen last."""
        self.thread_ids: list[str] = []
        self.num_asked = self.num_restarts = 0
        self._process: subprocess.Popen[str] | None = None
        self._start()

    def _start(self, *options: str) -> None:
        command = [sys.executable, "-m", "tests.api.test_simulation", str(self.folder / "data"), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        port = self._process.stdout.readline().removeprefix("ready ").strip()
        self.client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=15)

    def _stop(self, number: signal.Signals) -> None:
        assert self._process is not None
        self.client.close()
        self._process.send_signal(number)
        self._process.communicate(timeout=START_TIMEOUT_S)

    # ── What happens ─────────────────────────────────────────────────────────────────────────────────────────────────

    @initialize(commands=st.permutations(COMMANDS), pause_ms=st.integers(0, 60))
    def threads(self, commands: list[str], pause_ms: int) -> None:
        self.assistant_id = self.client.beta.assistants.create(model="scripted", tools=TOOLS).id
        self.thread_ids = [self.client.beta.threads.create().id for _ in range(3)]
        self.ask(commands)
        self.let_time_pass(pause_ms)
        self.restart(signal.SIGKILL)

    @rule(commands=st.permutations(COMMANDS))
    def ask(self, commands: list[str]) -> None:
        """Something of each thread."""
        for thread_id, command in zip(self.thread_ids, commands, strict=False):
            self._ask(thread_id, command)

    def _ask(self, thread_id: str, command: str) -> None:
        self.num_asked += 1
        message: Any = {"role": "user", "content": f"{command} {self.num_asked}"}
        runs = self.client.beta.threads.runs
        try:
            run = runs.create(thread_id, assistant_id=self.assistant_id, additional_messages=[message], max_completion_tokens=256)
        except openai.BadRequestError as error:
            assert "already has an active run" in error.message
        else:
            assert run.status == "queued"

    @rule(which=st.integers(0, 2))
    def cancel(self, which: int) -> None:
        for run in self._runs(self.thread_ids[which])[:1]:
            try:
                assert self.client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id).status == "cancelling"
            except openai.BadRequestError as error:
                assert "Cannot cancel run with status" in error.message

    @rule(which=st.integers(0, 2), is_streamed=st.booleans())
    def submit(self, which: int, is_streamed: bool) -> None:
        for run in self._runs(self.thread_ids[which])[:1]:
            if run.required_action is not None:
                self._submit(run, is_streamed=is_streamed)

    @rule(pause_ms=st.integers(0, 60))
    def let_time_pass(self, pause_ms: int) -> None:
        time.sleep(pause_ms / 1000)

    @precondition(lambda self: self.num_restarts < MAX_RESTARTS)
    @rule(number=st.sampled_from([signal.SIGKILL, signal.SIGTERM]))
    def restart(self, number: signal.Signals) -> None:
        self.num_restarts += 1
        self._stop(number)
        self._start()

    @rule()
    def look(self) -> None:
        for thread_id in self.thread_ids:
            self._look_at(thread_id)

    def teardown(self) -> None:
        try:
            self._stop(signal.SIGKILL)
            self._start("--released")
            self._come_to_an_end()
            self.look()
            self._stop(signal.SIGTERM)
        finally:
            if self._process is not None and self._process.poll() is None:
                self._stop(signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)

    # ── What has to hold ─────────────────────────────────────────────────────────────────────────────────────────────

    def _runs(self, thread_id: str) -> list[Any]:
        """The thread's runs, newest first. Each has moved along the table since it was seen last, and at most the newest is active."""
        runs = self.client.beta.threads.runs.list(thread_id, limit=100).data
        for run in runs:
            before = self.seen.get(run.id, "queued")
            assert run.status in REACHABLE[before], f"{run.id} was {before} and is {run.status}"
            self.seen[run.id] = run.status
        assert all(run.status not in ACTIVE for run in runs[1:])
        return runs

    def _look_at(self, thread_id: str) -> None:
        runs = self._runs(thread_id)
        messages = self.client.beta.threads.messages.list(thread_id, limit=100).data
        texts = [message.content[0].text.value for message in messages if message.run_id and message.content]
        assert sorted(texts) == sorted(set(texts)), "a message is there twice"
        open_runs = {message.run_id for message in messages if message.status == "in_progress"}
        assert len(open_runs) <= 1
        over = [run for run in runs if run.status not in ACTIVE]
        for run in over:
            steps = self.client.beta.threads.runs.steps.list(run.id, thread_id=thread_id, limit=100).data
            assert all(step.status != "in_progress" for step in steps)
            assert run.usage.total_tokens == sum(step.usage.total_tokens for step in steps if step.usage)
            assert run.required_action is None

    def _submit(self, run: Any, *, is_streamed: bool) -> None:
        outputs: Any = [{"tool_call_id": call.id, "output": "fine"} for call in run.required_action.submit_tool_outputs.tool_calls]
        answer = self.client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs, stream=is_streamed)
        if is_streamed:
            names = [event.event for event in answer]
            assert names[:2] == ["thread.run.step.completed", "thread.run.queued"]

    def _come_to_an_end(self) -> None:
        deadline = time.monotonic() + END_TIMEOUT_S
        while active := [run for thread_id in self.thread_ids for run in self._runs(thread_id) if run.status in ACTIVE]:
            assert time.monotonic() < deadline, f"these hang: {[(run.id, run.status) for run in active]}"
            for run in active:
                if run.status == "requires_action":
                    self._submit(run, is_streamed=False)
            time.sleep(0.05)


def simulate(num_examples: int, num_steps: int, **options: Any) -> None:
    health = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    plan = settings(max_examples=num_examples, stateful_step_count=num_steps, deadline=None, database=None, suppress_health_check=health, **options)
    run_state_machine_as_test(Machine, settings=plan)


@pytest.mark.timeout(300)
def test_nothing_hangs_and_nothing_is_there_twice() -> None:
    simulate(2, 20, derandomize=True, phases=[Phase.generate])


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_nothing_hangs_and_nothing_is_there_twice_for_long() -> None:
    simulate(30, 30, print_blob=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), 0, is_released="--released" in sys.argv))
