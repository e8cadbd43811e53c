"""Every attack of the self-check, on every real backend: refused, told truthfully, and without a trace on this machine."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from offline_assistants.code_interpreter.attacks import ATTACKS, ISOLATION
from offline_assistants.code_interpreter.bubblewrap_sandbox import BubblewrapSandbox
from offline_assistants.code_interpreter.docker_sandbox import DockerSandbox
from offline_assistants.code_interpreter.self_check import Check, Finding, HostState, run_checks
from offline_assistants.ports import ExecutionEnded, Logs, Sandbox
from offline_assistants.settings import Settings
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox

BACKENDS = [pytest.param("docker", marks=pytest.mark.docker), pytest.param("bubblewrap", marks=pytest.mark.bubblewrap)]
pytestmark = [pytest.mark.timeout(500), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(params=BACKENDS, scope="module", loop_scope="module")
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    name = f"test-{uuid.uuid4().hex}"
    async with DockerSandbox(name) if request.param == "docker" else BubblewrapSandbox(name, images=Settings().sandbox_images) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def findings(sandbox: Sandbox) -> dict[str, Finding]:
    return {finding.check.name: finding async for finding in run_checks(sandbox, ATTACKS, is_thorough=True)}


@pytest.mark.parametrize("check", ATTACKS, ids=lambda check: check.name)
async def test_an_attack_fails_and_leaves_no_trace(findings: dict[str, Finding], check: Check) -> None:
    assert findings[check.name].failures == ()


async def test_nothing_of_the_attacks_runs_on(sandbox: Sandbox, findings: dict[str, Finding]) -> None:
    before = HostState.now()
    async for finding in run_checks(sandbox, ATTACKS[:1], is_thorough=False):
        assert finding.holds

    assert HostState.now().losses_since(before) == []


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
