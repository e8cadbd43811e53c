"""Server, container and worker die at random moments, again and again: nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Protocol

import docker
import pytest

from offline_assistants.code_interpreter.bubblewrap_sandbox import BubblewrapSandbox
from offline_assistants.code_interpreter.container import INSTANCE_LABEL
from offline_assistants.code_interpreter.control_groups import find_control_groups
from offline_assistants.code_interpreter.self_check import HostState
from offline_assistants.settings import Settings
from tests.contract.conversations import Conversation

BACKENDS = [pytest.param("docker", marks=pytest.mark.docker), pytest.param("bubblewrap", marks=pytest.mark.bubblewrap)]
IMAGES = Settings().sandbox_images

CALLS = """
import asyncio, sys
from pathlib import Path
from offline_assistants.code_interpreter.bubblewrap_sandbox import BubblewrapSandbox
from offline_assistants.code_interpreter.docker_sandbox import DockerSandbox
from offline_assistants.errors import SandboxError

CODE = [
    "import time; open('a.txt', 'w').write('a' * 10**6); time.sleep(0.3)",
    "import os; os._exit(3)",
    "import os; os.fork() or os.setsid(); import time; time.sleep(0.2)",
    "while True: pass",
]

async def main():
    backend, instance_id, images = sys.argv[1:]
    async with DockerSandbox(instance_id) if backend == "docker" else BubblewrapSandbox(instance_id, images=Path(images)) as sandbox:
        await sandbox.warm()
        number = 0
        while True:
            number += 1
            try:
                async for event in sandbox.execute(f"thread_{number % 2}", CODE[number % 4], [], 0.5):
                    pass
            except SandboxError as error:
                print(error.message, flush=True)
            print("call", number, flush=True)

asyncio.run(main())
"""


class Undertaker(Protocol):
    """Kills a session from outside, and counts what is left of all that an instance has started."""

    def crash_one(self, server_pid: int) -> None: ...

    def remains(self) -> object: ...


class DockerUndertaker:
    def __init__(self, client: docker.DockerClient, instance_id: str) -> None:
        self._client = client
        self._labels = {"label": f"{INSTANCE_LABEL}={instance_id}"}

    def crash_one(self, server_pid: int) -> None:
        for container in self._client.api.containers(filters=self._labels)[:1]:
            self._client.api.remove_container(container["Id"], force=True)

    def remains(self) -> object:
        """Containers, and what the engine has on disk: over minutes, others change how much of the disk is free."""
        used = self._client.api.df()
        return self._client.api.containers(all=True, filters=self._labels), used["LayersSize"], len(used["Volumes"] or ())


class BubblewrapUndertaker:
    def __init__(self, instance_id: str) -> None:
        self._groups = find_control_groups(instance_id)

    def crash_one(self, server_pid: int) -> None:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if (path / "comm").read_text() == "bwrap\n" and f"PPid:\t{server_pid}\n" in (path / "status").read_text():
                    os.kill(int(path.name), signal.SIGKILL)
                    return
            except OSError:
                continue

    def remains(self) -> object:
        return self._groups.list_names() if self._groups is not None else []


@asynccontextmanager
async def undertaker_of(backend: str, instance_id: str) -> AsyncGenerator[Undertaker]:
    if backend == "docker":
        with closing(docker.from_env(timeout=60)) as client:
            yield DockerUndertaker(client, instance_id)
    else:
        yield BubblewrapUndertaker(instance_id)


async def live_and_crash(command: list[str], folder: Path, seconds: float, crash_one: Callable[[int], None] | None) -> None:
    """A process that uses the sandbox without end, in a folder for temporary files of its own, is killed; perhaps a session of it before."""
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(folder), "PYTHONPATH": str(root)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            assert process.stdout is not None
            assert await process.stdout.readline()
        await asyncio.sleep(seconds)
        if crash_one is not None:
            crash_one(process.pid)
            await asyncio.sleep(seconds)
    finally:
        process.kill()
        await process.wait()


async def rehearse_crashes(backend: str, folder: Path, num_crashes: int) -> None:
    instance_id, chance = f"test-{uuid.uuid4().hex}", random.Random(7)
    command = [sys.executable, "-c", CALLS, backend, instance_id, str(IMAGES)]
    async with undertaker_of(backend, instance_id) as undertaker:

        def remains() -> object:
            return undertaker.remains(), list(folder.iterdir()), HostState.now().num_processes

        before = remains()
        for number in range(num_crashes):
            await live_and_crash(command, folder, chance.uniform(0, 2), undertaker.crash_one if number % 2 else None)
        if backend == "bubblewrap":
            async with BubblewrapSandbox(instance_id, images=IMAGES) as next_one:  # the next server removes the empty control groups
                await Conversation(next_one).run("1")

        for _ in range(60):
            if remains() == before:
                break
            await asyncio.sleep(1)  # a busy engine takes a while to remove what ended
        assert remains() == before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.timeout(150)
async def test_a_few_random_crashes_leave_nothing(tmp_path: Path, backend: str) -> None:
    await rehearse_crashes(backend, tmp_path, 5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_a_hundred_random_crashes_leave_nothing(tmp_path: Path, backend: str) -> None:
    await rehearse_crashes(backend, tmp_path, 100)
