"""What every Sandbox does, run over the scripted one, Docker and bubblewrap. What only a real one can show is in test_python_sessions.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing

import pytest

from offline_assistants.code_interpreter.bubblewrap_sandbox import BubblewrapSandbox
from offline_assistants.code_interpreter.docker_sandbox import DockerSandbox
from offline_assistants.errors import SandboxUnavailable
from offline_assistants.ports import ExecutionEnded, ExecutionEvent, FileMade, Image, Logs, Sandbox, SandboxFile
from offline_assistants.settings import Settings
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox

pytestmark = pytest.mark.timeout(60)

PNG = b"\x89PNG\r\n\x1a\n"
Rehearse = Callable[..., None]


@pytest.fixture(params=["scripted", pytest.param("docker", marks=pytest.mark.docker), pytest.param("bubblewrap", marks=pytest.mark.bubblewrap)])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    if request.param == "scripted":
        yield ScriptedSandbox()
        return
    is_docker = request.param == "docker"
    async with DockerSandbox("contract-test") if is_docker else BubblewrapSandbox("contract-test", images=Settings().sandbox_images) as opened:
        yield opened


@pytest.fixture
def rehearse(sandbox: Sandbox) -> Rehearse:
    """Tell a scripted sandbox what the next code would do; a real one needs no telling."""

    def tell(*events: ExecutionEvent) -> None:
        if isinstance(sandbox, ScriptedSandbox):
            sandbox.will_emit(events)

    return tell


@pytest.fixture(params=["scripted", "docker"])
async def sandbox_without_engine(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    if request.param == "scripted":
        scripted = ScriptedSandbox()
        scripted.missing = SandboxUnavailable().message
        yield scripted
        return
    async with DockerSandbox("contract-test", docker_host="unix:///nowhere/docker.sock") as docker_sandbox:
        yield docker_sandbox


async def run(sandbox: Sandbox, code: str, *, files: Sequence[SandboxFile] = (), thread_id: str = "thread_a", timeout_s: float = 20.0) -> list[ExecutionEvent]:
    return [event async for event in sandbox.execute(thread_id, code, files, timeout_s)]


async def test_printed_text_comes_as_logs_and_the_end_comes_last(sandbox: Sandbox, rehearse: Rehearse) -> None:
    rehearse(Logs("42\n"))

    events = await run(sandbox, "print(42)")

    assert events == [Logs("42\n"), ExecutionEnded("ok")]


async def test_code_without_effect_just_ends(sandbox: Sandbox) -> None:
    assert await run(sandbox, "") == [ExecutionEnded("ok")]
    assert await run(sandbox, "# nothing") == [ExecutionEnded("ok")]


async def test_an_exception_is_a_result_and_not_an_error_of_the_sandbox(sandbox: Sandbox, rehearse: Rehearse) -> None:
    rehearse(Logs("ZeroDivisionError: division by zero\n"), ExecutionEnded("error"))

    *logs, end = await run(sandbox, "1/0")

    assert end == ExecutionEnded("error")
    assert "ZeroDivisionError" in "".join(event.text for event in logs if isinstance(event, Logs))


async def test_files_and_images_come_back_as_bytes(sandbox: Sandbox, rehearse: Rehearse) -> None:
    rehearse(Image(PNG, "image_1.png"), FileMade("/mnt/data/a.csv", b"x\n1\n"))

    events = await run(sandbox, "import matplotlib.pyplot as plt\nplt.figure()\nplt.show()\nwith open('a.csv', 'w') as file:\n    file.write('x\\n1\\n')")

    assert [event.content[:8] for event in events if isinstance(event, Image)] == [PNG]
    assert [event for event in events if isinstance(event, FileMade)] == [FileMade("/mnt/data/a.csv", b"x\n1\n")]
    assert events[-1] == ExecutionEnded("ok")


async def test_an_iterator_can_be_closed_at_any_event_and_the_thread_goes_on(sandbox: Sandbox, rehearse: Rehearse) -> None:
    rehearse(Logs("one\n"), Logs("two\n"))
    async with aclosing(sandbox.execute("thread_a", "print('one', flush=True)\nimport time\ntime.sleep(30)", [], 40.0)) as events:
        assert await anext(events) == Logs("one\n")
    rehearse(Logs("3\n"))

    assert await run(sandbox, "print(3)") == [Logs("3\n"), ExecutionEnded("ok")]


async def test_a_session_can_be_closed_in_the_middle_of_a_call(sandbox: Sandbox, rehearse: Rehearse) -> None:
    rehearse(Logs("one\n"), Logs("two\n"))
    async with aclosing(sandbox.execute("thread_a", "print('one', flush=True)\nimport time\ntime.sleep(30)", [], 40.0)) as events:
        assert await anext(events) == Logs("one\n")

        async def rest() -> list[ExecutionEvent]:
            return [event async for event in events]

        reading = asyncio.create_task(rest())
        await asyncio.sleep(0.3)
        await sandbox.close("thread_a")
        assert isinstance((await reading)[-1], ExecutionEnded)
    rehearse(Logs("3\n"))

    assert (await run(sandbox, "print(3)", thread_id="thread_b"))[-2:] == [Logs("3\n"), ExecutionEnded("ok")]


async def test_a_thread_without_a_session_can_be_closed(sandbox: Sandbox) -> None:
    await sandbox.close("thread_unknown")


async def test_a_session_knows_the_files_that_it_was_given(sandbox: Sandbox) -> None:
    before = await sandbox.files_of("thread_a")
    await run(sandbox, "1", files=[SandboxFile("file-a", "a.csv", b"1\n")])
    held = await sandbox.files_of("thread_a")
    await sandbox.close("thread_a")

    assert (before, held, await sandbox.files_of("thread_a")) == (None, {"file-a"}, None)


async def test_a_sandbox_can_be_warmed_at_any_time(sandbox: Sandbox, sandbox_without_engine: Sandbox) -> None:
    await sandbox.warm()
    await sandbox_without_engine.warm()

    assert (await run(sandbox, "1"))[-1] == ExecutionEnded("ok")


async def test_a_ready_sandbox_misses_nothing(sandbox: Sandbox) -> None:
    assert await sandbox.check() is None


async def test_without_an_engine_the_check_says_what_to_do_and_code_is_refused(sandbox_without_engine: Sandbox) -> None:
    missing = await sandbox_without_engine.check()

    assert missing is not None
    assert "Start Docker" in missing
    with pytest.raises(SandboxUnavailable, match="Start Docker"):
        await run(sandbox_without_engine, "1")
