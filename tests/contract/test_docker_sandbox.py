"""What the sandbox does with Docker: containers that die, are left over or too many, engines that go away."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest
import pytest_asyncio

from offline_assistants.code_interpreter.backend import SandboxLimits
from offline_assistants.code_interpreter.container import INSTANCE_LABEL, container_options
from offline_assistants.code_interpreter.docker_engine import DockerEngine
from offline_assistants.code_interpreter.docker_sandbox import DockerSandbox
from offline_assistants.code_interpreter.image import build_image, sandbox_folder
from offline_assistants.code_interpreter.sessions import SessionLimits
from offline_assistants.errors import SandboxError, SandboxUnavailable
from offline_assistants.ports import ExecutionEnded, SandboxFile
from tests.contract.conversations import LIMITS, Conversation

pytestmark = [pytest.mark.docker, pytest.mark.timeout(90), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[DockerSandbox]:
    async with DockerSandbox(f"test-{uuid.uuid4().hex}", output_limits=LIMITS, session_limits=SessionLimits(max_sessions=3)) as docker_sandbox:
        yield docker_sandbox


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    with closing(docker.from_env()) as docker_client:
        yield docker_client


def containers(client: docker.DockerClient, instance_id: str) -> list[str]:
    return [container["Id"] for container in client.api.containers(all=True, filters={"label": f"{INSTANCE_LABEL}={instance_id}"})]


async def left(client: docker.DockerClient, instance_id: str, num_containers: int, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while len(containers(client, instance_id)) > num_containers:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True


async def gone(client: docker.DockerClient, instance_id: str, *, within_s: float) -> bool:
    return await left(client, instance_id, 0, within_s=within_s)


# ── Deaths ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_container_that_dies_under_the_code_is_a_crash_and_the_next_call_starts_anew(sandbox: DockerSandbox, client: docker.DockerClient) -> None:
    instance_id = f"test-{uuid.uuid4().hex}"
    async with DockerSandbox(instance_id) as own:
        conversation = Conversation(own)
        await conversation.run("x = 1")
        task = asyncio.create_task(conversation.run("import time\ntime.sleep(60)", timeout_s=70.0))
        await asyncio.sleep(0.5)
        client.api.kill(containers(client, instance_id)[0])

        outcome = await task

        assert outcome.end == ExecutionEnded("crashed", is_state_lost=True)
        again = await conversation.run("'x' in globals()", has_run_before=True)
        assert again.text.startswith("[A new Python session: the last one was ended, because its container ended.")
        assert again.text.endswith("]\nFalse\n")


async def test_a_container_that_died_between_calls_is_replaced_and_the_code_is_told(client: docker.DockerClient) -> None:
    instance_id = f"test-{uuid.uuid4().hex}"
    async with DockerSandbox(instance_id) as own:
        conversation = Conversation(own)
        files = [SandboxFile("file-a", "a.txt", b"a")]
        await conversation.run("x = 1", files=files)
        client.api.kill(containers(client, instance_id)[0])
        await gone(client, instance_id, within_s=30)

        outcome = await conversation.run("open('a.txt').read()", files=files)

        assert outcome.text.startswith("[A new Python session: the last one was ended, because its container ended.")
        assert outcome.text.endswith("'a'\n")


async def test_one_session_too_many_ends_the_one_that_was_idle_longest(client: docker.DockerClient) -> None:
    instance_id = f"test-{uuid.uuid4().hex}"
    async with DockerSandbox(instance_id, session_limits=SessionLimits(max_sessions=1)) as own:
        first, second = Conversation(own), Conversation(own)
        await first.run("x = 1")
        await second.run("x = 2")

        outcome = await first.run("'x' in globals()")

        assert "its place was needed for another conversation" in outcome.text
        assert outcome.text.endswith("False\n")
        assert len(containers(client, instance_id)) <= 1


async def test_closing_a_thread_and_leaving_the_sandbox_leave_no_container(client: docker.DockerClient) -> None:
    instance_id = f"test-{uuid.uuid4().hex}"
    async with DockerSandbox(instance_id) as own:
        closed, open_one = Conversation(own), Conversation(own)
        await asyncio.gather(closed.run("1"), open_one.run("1"))
        await own.close(closed.thread_id)
        assert len(containers(client, instance_id)) == 1

    assert await gone(client, instance_id, within_s=30)


OWNER = """
import asyncio, sys
from offline_assistants.code_interpreter.docker_sandbox import DockerSandbox

async def main():
    async with DockerSandbox(sys.argv[1]) as sandbox:
        async for event in sandbox.execute("thread_a", "print('begun', flush=True)\\nwhile True: pass" if sys.argv[2] == "busy" else "1", [], 600.0):
            print(event, flush=True)
            await asyncio.sleep(600 if sys.argv[2] == "idle" else 0)

asyncio.run(main())
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
async def test_a_killed_server_leaves_no_container(client: docker.DockerClient, state: str) -> None:
    instance_id = f"test-{uuid.uuid4().hex}"
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", OWNER, instance_id, state, cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE)
    assert owner.stdout is not None
    assert await owner.stdout.readline()
    assert len(containers(client, instance_id)) == 1

    owner.send_signal(signal.SIGKILL)

    await owner.wait()
    assert await gone(client, instance_id, within_s=30)


async def test_a_container_of_an_earlier_server_is_removed_at_start(sandbox: DockerSandbox, client: docker.DockerClient) -> None:
    instance_id = f"test-{uuid.uuid4().hex}"
    tag = await build_image(lambda line: None)
    orphan = client.api.create_container(tag, entrypoint=["sleep", "600"], labels={INSTANCE_LABEL: instance_id})
    client.api.start(orphan["Id"])

    async with DockerSandbox(instance_id):
        assert await gone(client, instance_id, within_s=30)


async def test_a_container_that_no_session_has_is_removed_while_the_server_runs(client: docker.DockerClient) -> None:
    instance_id = f"test-{uuid.uuid4().hex}"
    tag = await build_image(lambda line: None)
    async with DockerSandbox(instance_id, sweep_s=0.5) as own:
        conversation = Conversation(own)
        await conversation.run("x = 1")
        orphan = client.api.create_container(tag, entrypoint=["sleep", "600"], labels={INSTANCE_LABEL: instance_id})
        client.api.start(orphan["Id"])

        assert await left(client, instance_id, 1, within_s=60)
        assert (await conversation.run("x")).text == "1\n"


# ── The engine ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Relay:
    """A socket before the engine's own, that can be cut or made to fall silent. Without a path it is a TCP port, as of an engine of another machine."""

    def __init__(self, path: Path | None = None) -> None:
        self.url = f"unix://{path}"
        self._path = path
        self._is_silent = False
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Relay:
        if self._path is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.url = f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        else:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.cut()

    async def cut(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        await asyncio.sleep(0.1)

    def fall_silent(self) -> None:
        self._is_silent = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine_reader, engine_writer = await asyncio.open_unix_connection("/var/run/docker.sock")
        self._writers += [writer, engine_writer]
        await asyncio.gather(self._pass_on(reader, engine_writer), self._pass_on(engine_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if not self._is_silent:
                    writer.write(data)
            writer.close()
        except OSError:
            writer.close()


async def test_an_engine_that_goes_away_under_the_code_is_named_and_its_return_is_noticed(tmp_path: Path) -> None:
    async with Relay(tmp_path / "docker.sock") as relay, DockerSandbox(f"test-{uuid.uuid4().hex}", docker_host=relay.url) as own:
        conversation = Conversation(own)
        await conversation.run("1")
        task = asyncio.create_task(conversation.run("import time\ntime.sleep(60)", timeout_s=70.0))
        await asyncio.sleep(0.5)
        await relay.cut()

        with pytest.raises(SandboxUnavailable, match="Start Docker"):
            await task
        with pytest.raises(SandboxUnavailable, match="Start Docker"):
            await conversation.run("1")
        async with Relay(tmp_path / "docker.sock"):
            assert await own.check() is None
            assert (await conversation.run("2")).text.endswith("2\n")
            await own.close(conversation.thread_id)


async def test_an_engine_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    async with Relay(tmp_path / "docker.sock") as relay:
        engine = DockerEngine(relay.url, call_timeout_s=1)
        await engine.ping()
        relay.fall_silent()
        began = time.monotonic()

        with pytest.raises(SandboxUnavailable, match="does not answer in time"):
            await engine.ping()

        assert time.monotonic() - began < 20
        await engine.close()


async def test_an_engine_that_shares_no_folder_with_us_runs_code_and_moves_files(client: docker.DockerClient) -> None:
    instance_id, content = f"test-{uuid.uuid4().hex}", bytes(range(256)) * 20_000
    async with Relay() as relay, DockerSandbox(instance_id, docker_host=relay.url) as own:
        conversation = Conversation(own)
        copied = await conversation.run("_ = open('copy', 'wb').write(open('file-a', 'rb').read())", files=[SandboxFile("file-a", "a.bin", content)])
        stopped = await conversation.run("print('begun')\nwhile True:\n    pass", timeout_s=1.0)
        [mounts] = [container["Mounts"] for container in client.api.containers(filters={"label": f"{INSTANCE_LABEL}={instance_id}"})]

        assert copied.files == {"/mnt/data/copy": content}
        assert stopped.text.startswith("begun\n")
        assert stopped.end == ExecutionEnded("timeout", is_state_lost=False)
        assert not any(mount["Type"] == "bind" for mount in mounts)
        await own.close(conversation.thread_id)
    assert containers(client, instance_id) == []


async def test_a_runtime_that_the_engine_does_not_know_is_named_with_those_that_it_knows() -> None:
    async with DockerSandbox(f"test-{uuid.uuid4().hex}", runtime="no-such-runtime") as own:
        missing = await own.check() or ""

        assert "knows no runtime no-such-runtime, only" in missing
        assert "runc" in missing
        with pytest.raises(SandboxError, match="Tell it of this runtime"):
            await Conversation(own).run("1")


async def test_a_runtime_is_taken_by_its_name(client: docker.DockerClient) -> None:
    instance_id = f"test-{uuid.uuid4().hex}"
    async with DockerSandbox(instance_id, runtime="runc") as own:
        assert (await Conversation(own).run("print(1)")).text == "1\n"

        [name] = containers(client, instance_id)
        assert client.api.inspect_container(name)["HostConfig"]["Runtime"] == "runc"


async def test_a_missing_image_is_named_with_the_command_that_builds_it() -> None:
    engine = DockerEngine()
    options = container_options(image="offline-assistants-sandbox:missing", instance_id="test", limits=SandboxLimits(), runtime=None)

    with pytest.raises(SandboxUnavailable, match="offline-assistants sandbox build"):
        await engine.start_container(options, seccomp_profile=sandbox_folder() / "seccomp.json")

    await engine.close()


async def test_an_image_that_is_there_is_not_built_again() -> None:
    lines: list[str] = []
    began = time.monotonic()

    tag = await build_image(lines.append)

    assert lines == [f"The sandbox image {tag} is there."]
    assert time.monotonic() - began < 20
