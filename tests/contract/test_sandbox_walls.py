"""Every attack of the self-check, on every real backend: refused, told truthfully, and without a trace on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import docker
import pytest
import pytest_asyncio

from offline_assistants.code_interpreter.attacks import ATTACKS, ISOLATION
from offline_assistants.code_interpreter.bubblewrap_sandbox import BubblewrapSandbox
from offline_assistants.code_interpreter.container import INSTANCE_LABEL
from offline_assistants.code_interpreter.docker_sandbox import DockerSandbox
from offline_assistants.code_interpreter.self_check import Check, Finding, HostState, run_checks
from offline_assistants.code_interpreter.session_sandbox import SessionSandbox
from offline_assistants.ports import ExecutionEnded, ExecutionEvent, Logs
from offline_assistants.settings import Settings
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.contract.conversations import Conversation, Outcome

BACKENDS = [pytest.param("docker", marks=pytest.mark.docker), pytest.param("bubblewrap", marks=pytest.mark.bubblewrap)]
pytestmark = [pytest.mark.timeout(500), pytest.mark.asyncio(loop_scope="module")]


INSTANCE_ID = f"test-{uuid.uuid4().hex}"


@pytest_asyncio.fixture(params=BACKENDS, scope="module", loop_scope="module")
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[SessionSandbox]:
    async with DockerSandbox(INSTANCE_ID) if request.param == "docker" else BubblewrapSandbox(INSTANCE_ID, images=Settings().sandbox_images) as opened:
        yield opened


@pytest.fixture
def freeze(sandbox: SessionSandbox) -> Callable[[], None]:
    """Stop every kernel of `sandbox` where it stands, from outside; it is not told and does not end."""

    def pause_containers() -> None:
        with closing(docker.from_env()) as client:
            for container in client.api.containers(filters={"label": f"{INSTANCE_LABEL}={INSTANCE_ID}"}):
                client.api.pause(container["Id"])

    def stop_children() -> None:
        for pid in children_of(os.getpid(), named="bwrap"):
            for kernel in children_of(pid):
                os.kill(kernel, signal.SIGSTOP)

    return pause_containers if isinstance(sandbox, DockerSandbox) else stop_children


async def settled_losses(before: HostState) -> list[str]:
    """What this machine lacks once what ends has ended, or ten seconds are over."""
    for _ in range(100):
        if not HostState.now().losses_since(before):
            break
        await asyncio.sleep(0.1)
    return HostState.now().losses_since(before)


def children_of(parent: int, *, named: str | None = None) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if is_child(pid, parent, named)]


def is_child(pid: int, parent: int, name: str | None) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False  # it ended
    return f"PPid:\t{parent}\n" in status and (name is None or f"Name:\t{name}\n" in status)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def findings(sandbox: SessionSandbox) -> dict[str, Finding]:
    return {finding.check.name: finding async for finding in run_checks(sandbox, ATTACKS, is_thorough=True)}


@pytest.mark.parametrize("check", ATTACKS, ids=lambda check: check.name)
async def test_an_attack_fails_and_leaves_no_trace(findings: dict[str, Finding], check: Check) -> None:
    assert findings[check.name].failures == ()


async def test_nothing_of_the_attacks_runs_on(sandbox: SessionSandbox, findings: dict[str, Finding]) -> None:
    before = HostState.now()
    async for finding in run_checks(sandbox, ATTACKS[:1], is_thorough=False):
        assert finding.holds

    assert HostState.now().losses_since(before) == []


async def test_a_session_that_never_answers_is_ended_soon_after_the_limit_and_leaves_no_trace(sandbox: SessionSandbox, freeze: Callable[[], None]) -> None:
    conversation, events = Conversation(sandbox), list[ExecutionEvent]()
    await conversation.run("x = 1")
    before, began = HostState.now(), time.monotonic()
    async for event in sandbox.execute(conversation.thread_id, "import time\nprint('said before')\ntime.sleep(60)", [], 3.0):
        events.append(event)
        if event == Logs("said before\n"):
            freeze()
    outcome, ended = Outcome(events), time.monotonic()

    following = await conversation.run("'x' in globals()")

    assert ended - began < 50  # 3 s, 1 s for the kernel's own kill, 3 s of silence; the rest is a busy machine's
    assert outcome.text.startswith("said before\n[The Python session did not come back after its time limit and was ended. Variables")
    assert outcome.end == ExecutionEnded("timeout", is_state_lost=True)
    assert following.text.endswith("False\n")
    assert await settled_losses(before) == []
    await sandbox.close(conversation.thread_id)


async def test_every_attack_has_a_name_of_its_own_and_the_quick_look_is_part_of_the_thorough_one() -> None:
    assert len({check.name for check in ATTACKS}) == len(ATTACKS)
    assert set(ISOLATION) < set(ATTACKS)


async def test_a_wall_that_does_not_hold_is_named() -> None:
    broken = ScriptedSandbox()
    broken.will_always_emit([Logs("['connect 203.0.113.80']\n")])
    check = next(check for check in ISOLATION if check.name == "There is no network")

    findings = [finding async for finding in run_checks(broken, [check], is_thorough=False)]

    assert [finding.failures for finding in findings] == [("it said \"['connect 203.0.113.80']\\n\"",)]


async def test_variables_that_are_lost_in_silence_are_a_failure() -> None:
    silent = ScriptedSandbox()
    silent.will_always_emit([Logs("42\n"), ExecutionEnded("crashed", is_state_lost=True)])
    check = Check("x", "x", ".*", "x", statuses=frozenset({"crashed"}))

    findings = [finding async for finding in run_checks(silent, [check], is_thorough=False)]

    assert [finding.failures for finding in findings] == [("variables were lost, and the model was not told",)]


async def test_what_an_attack_took_from_this_machine_is_a_loss() -> None:
    before = HostState(2, 10**8, 10**10, 10**6, frozenset({"lo"}))
    after = HostState(3, 10**9, 10**9, 10**5, frozenset({"lo", "tap0"}))

    assert len(after.losses_since(before)) == 5
    assert before.losses_since(after) == []
