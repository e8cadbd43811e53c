"""What the sandbox does with bubblewrap: nothing is left of sessions that die, what is missing is named, and Docker goes before it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from offline_assistants.code_interpreter.backend import SandboxLimits
from offline_assistants.code_interpreter.backend_choice import StrongestBackend, choose_backend
from offline_assistants.code_interpreter.bubblewrap_sandbox import BubblewrapBackend, BubblewrapSandbox
from offline_assistants.code_interpreter.control_groups import find_control_groups, systemd_scope
from offline_assistants.code_interpreter.docker_sandbox import DockerBackend
from offline_assistants.code_interpreter.self_check import HostState
from offline_assistants.code_interpreter.session_sandbox import SessionSandbox
from offline_assistants.errors import SandboxError, SandboxUnavailable
from offline_assistants.ports import ExecutionEnded
from offline_assistants.settings import Settings
from tests.contract.conversations import Conversation

pytestmark = pytest.mark.timeout(60)
needs_bubblewrap = pytest.mark.bubblewrap
IMAGES = Settings().sandbox_images
NO_DOCKER = "unix:///nowhere/docker.sock"


def groups_of(instance_id: str) -> list[str]:
    groups = find_control_groups(instance_id)
    return groups.list_names() if groups is not None else []


async def become(num_processes: int) -> int:
    """How many processes the sandbox has, once it is so many or half a minute is over."""
    for _ in range(300):
        if HostState.now().num_processes == num_processes:
            break
        await asyncio.sleep(0.1)
    return HostState.now().num_processes


@pytest.fixture
def instance_id() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
async def sandbox(instance_id: str) -> AsyncIterator[BubblewrapSandbox]:
    async with BubblewrapSandbox(instance_id, images=IMAGES) as opened:
        yield opened


# ── Deaths ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@needs_bubblewrap
async def test_closing_a_thread_and_leaving_the_sandbox_leave_nothing(instance_id: str) -> None:
    before = HostState.now().num_processes
    async with BubblewrapSandbox(instance_id, images=IMAGES) as sandbox:
        closed, open_one = Conversation(sandbox), Conversation(sandbox)
        await asyncio.gather(closed.run("1"), open_one.run("import subprocess\nsubprocess.Popen(['sleep', '600'])"))
        await sandbox.close(closed.thread_id)

    assert (await become(before), groups_of(instance_id)) == (before, [])


@needs_bubblewrap
async def test_a_session_that_dies_under_the_code_is_a_crash_and_the_next_call_starts_anew(sandbox: BubblewrapSandbox) -> None:
    conversation = Conversation(sandbox)
    await conversation.run("x = 1")
    task = asyncio.create_task(conversation.run("import time\ntime.sleep(60)", timeout_s=70.0))
    await asyncio.sleep(0.5)
    kill_our_bubblewraps()

    outcome = await task

    assert outcome.end == ExecutionEnded("crashed", is_state_lost=True)
    again = await conversation.run("'x' in globals()", has_run_before=True)
    assert again.text.startswith("[A new Python session: the last one was ended, because its container ended.")
    assert again.text.endswith("]\nFalse\n")


def kill_our_bubblewraps() -> None:
    """Those that this process has started."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "comm").read_text() == "bwrap\n" and f"PPid:\t{os.getpid()}\n" in (path / "status").read_text():
                os.kill(int(path.name), signal.SIGKILL)
        except OSError:
            continue


OWNER = """
import asyncio, sys
from pathlib import Path
from offline_assistants.code_interpreter.bubblewrap_sandbox import BubblewrapSandbox

async def main():
    async with BubblewrapSandbox(sys.argv[1], images=Path(sys.argv[2])) as sandbox:
        async for event in sandbox.execute("thread_a", "print('begun')\\nwhile True: pass" if sys.argv[3] == "busy" else "1", [], 600.0):
            print(event, flush=True)
            await asyncio.sleep(600 if sys.argv[3] == "idle" else 0)

asyncio.run(main())
"""


@needs_bubblewrap
@pytest.mark.parametrize("state", ["idle", "busy"])
async def test_a_killed_server_leaves_no_process_and_its_groups_go_at_the_next_start(instance_id: str, state: str) -> None:
    before = HostState.now().num_processes
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, instance_id, str(IMAGES), state, cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    assert await owner.stdout.readline()

    owner.send_signal(signal.SIGKILL)

    await owner.wait()
    assert await become(before) == before
    async with BubblewrapSandbox(instance_id, images=IMAGES) as next_one:
        await Conversation(next_one).run("1")
    assert groups_of(instance_id) == []


# ── What is missing ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_machine_without_bubblewrap_is_told_how_to_get_it(tmp_path: Path) -> None:
    backend = BubblewrapBackend("test", images=tmp_path, limits=SandboxLimits(), program="no-such-program")

    assert "sudo apt-get install bubblewrap" in (await backend.check() or "")
    with pytest.raises(SandboxUnavailable, match="bubblewrap is not installed"):
        await backend.start()


@needs_bubblewrap
async def test_a_missing_image_is_named_with_the_commands_that_bring_it(tmp_path: Path) -> None:
    backend = BubblewrapBackend("test", images=tmp_path, limits=SandboxLimits())

    assert "sandbox import FILE" in (await backend.check() or "")
    with pytest.raises(SandboxUnavailable, match="bubblewrap has no image to run"):
        await backend.start()


@needs_bubblewrap
async def test_a_machine_that_refuses_namespaces_is_told_so_and_no_code_runs(tmp_path: Path) -> None:
    refusing = tmp_path / "bwrap"
    refusing.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    refusing.chmod(0o755)
    backend = BubblewrapBackend("test", images=IMAGES, limits=SandboxLimits(), program=str(refusing))

    assert "cannot close off a process here (bwrap: setting up uid map: Permission denied)" in (await backend.check() or "")
    with pytest.raises(SandboxUnavailable, match="Permission denied"):
        await backend.start()


# ── The choice ───────────────────────────────────────────────────────────────────────────────────────────────────────


def strongest(instance_id: str, *, docker_host: str | None, images: Path) -> StrongestBackend:
    docker = DockerBackend(instance_id, limits=SandboxLimits(), docker_host=docker_host)
    return StrongestBackend(docker, BubblewrapBackend(instance_id, images=images, limits=SandboxLimits()))


@needs_bubblewrap
async def test_where_no_docker_answers_code_runs_in_bubblewrap_and_the_log_says_so(instance_id: str, caplog: pytest.LogCaptureFixture) -> None:
    async with SessionSandbox(strongest(instance_id, docker_host=NO_DOCKER, images=IMAGES)) as sandbox:
        outcome = await Conversation(sandbox).run("print(6 * 7)")

        assert (outcome.text, await sandbox.check()) == ("42\n", None)
        assert "weaker than Docker" in await sandbox.description()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len([text for text in warnings if "no container engine answers" in text and "code runs in bubblewrap" in text]) == 1


@pytest.mark.docker
async def test_where_docker_answers_it_goes_before_bubblewrap(instance_id: str) -> None:
    async with SessionSandbox(strongest(instance_id, docker_host=None, images=IMAGES)) as sandbox:
        assert await sandbox.check() is None
        assert await sandbox.description() == "Docker containers"


async def test_without_either_both_are_named_and_code_is_refused(instance_id: str, tmp_path: Path) -> None:
    async with SessionSandbox(strongest(instance_id, docker_host=NO_DOCKER, images=tmp_path)) as sandbox:
        missing = await sandbox.check() or ""

        assert "Start Docker" in missing
        assert "bubblewrap" in missing
        with pytest.raises(SandboxUnavailable, match=r"Start Docker.*bubblewrap"):
            await Conversation(sandbox).run("1")


@pytest.mark.parametrize(
    ("engine", "runtime", "docker_host", "kind"),
    [
        ("auto", None, None, StrongestBackend),
        ("auto", "runsc", None, DockerBackend),
        ("auto", None, NO_DOCKER, DockerBackend),
        ("docker", None, None, DockerBackend),
        ("bubblewrap", "runsc", NO_DOCKER, BubblewrapBackend),
    ],
)
async def test_who_asks_for_more_than_bubblewrap_never_gets_it_unasked(
    tmp_path: Path, engine: str, runtime: str | None, docker_host: str | None, kind: type
) -> None:
    backend = choose_backend(engine, "test", images=tmp_path, limits=SandboxLimits(), runtime=runtime, docker_host=docker_host)

    assert isinstance(backend, kind)
    await backend.close()


# ── Limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_groups_of_version_2_are_made_at_the_top_with_their_limits(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")

    groups = find_control_groups("test", root=tmp_path)

    assert groups is not None
    assert groups.parents == (tmp_path,)
    group = groups.make(1, SandboxLimits())
    assert groups.list_names() == [group.name]
    group.remove()
    assert groups.list_names() == []


@pytest.mark.parametrize("control", ["", "cpu\n"])
def test_where_controllers_cannot_be_had_there_are_no_groups(tmp_path: Path, control: str) -> None:
    (tmp_path / "cgroup.controllers").write_text("")
    (tmp_path / "cgroup.subtree_control").write_text(control)

    assert find_control_groups("test", root=tmp_path / "nowhere") is None


def test_a_group_that_cannot_be_made_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("")
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
    groups = find_control_groups("test", root=tmp_path)
    assert groups is not None
    existing = groups.make(1, SandboxLimits())

    with pytest.raises(SandboxError, match="limits of a session cannot be set"):
        groups.make(1, SandboxLimits())

    assert not (tmp_path / existing.name).exists()


def test_empty_groups_of_processes_that_are_gone_are_removed(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("")
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    names = [f"offline-assistants-other-{gone.pid}-1", f"offline-assistants-full-{gone.pid}-2", f"offline-assistants-other-{os.getpid()}-3"]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / names[1] / "somebody").mkdir()

    find_control_groups("test", root=tmp_path)

    assert [(tmp_path / name).exists() for name in names] == [False, True, True]


def test_a_systemd_that_does_not_run_limits_nothing() -> None:
    if Path("/run/systemd/system").exists():
        pytest.skip("systemd runs here")

    assert systemd_scope(SandboxLimits()) is None
