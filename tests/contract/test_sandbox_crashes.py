"""Server, container and worker die at random moments, again and again: nothing of them is left."""

from __future__ import annotations

import asyncio
import random
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import docker
import pytest

from offline_assistants.code_interpreter.container import INSTANCE_LABEL
from offline_assistants.code_interpreter.self_check import HostState

pytestmark = pytest.mark.docker

CALLS = """
import asyncio, sys
from offline_assistants.code_interpreter.docker_sandbox import DockerSandbox
from offline_assistants.errors import SandboxError

CODE = [
    "import time; open('a.txt', 'w').write('a' * 10**6); time.sleep(0.3)",
    "import os; os._exit(3)",
    "import os; os.fork() or os.setsid(); import time; time.sleep(0.2)",
    "while True: pass",
]

async def main():
    async with DockerSandbox(sys.argv[1]) as sandbox:
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


class CrashingServer:
    """A process that uses the sandbox without end, in a folder for temporary files of its own."""

    def __init__(self, folder: Path) -> None:
        self.instance_id = f"test-{uuid.uuid4().hex}"
        self.folder = folder

    async def live(self, seconds: float, crash_container: Callable[[str], None] | None) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CALLS,
            self.instance_id,
            cwd=Path(__file__).parents[2],
            env={"PATH": "/usr/bin:/bin", "TMPDIR": str(self.folder), "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(60):
                assert process.stdout is not None
                assert await process.stdout.readline()
            await asyncio.sleep(seconds)
            if crash_container is not None:
                crash_container(self.instance_id)
                await asyncio.sleep(seconds)
        finally:
            process.kill()
            await process.wait()


def used_disk(client: docker.DockerClient) -> tuple[int, int]:
    """Bytes of the engine's layers, and how many volumes it has: over minutes, others change how much of the disk is free."""
    used = client.api.df()
    return used["LayersSize"], len(used["Volumes"] or ())


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def rehearse_crashes(folder: Path, num_crashes: int) -> None:
    num_processes, chance = HostState.now().num_processes, random.Random(7)
    server = CrashingServer(folder)
    with closing(docker.from_env(timeout=60)) as client:
        disk = used_disk(client)

        def kill_one(instance_id: str) -> None:
            for container in client.api.containers(filters={"label": f"{INSTANCE_LABEL}={instance_id}"})[:1]:
                client.api.remove_container(container["Id"], force=True)

        for number in range(num_crashes):
            await server.live(chance.uniform(0, 2), kill_one if number % 2 else None)

        def remains() -> object:
            left = client.api.containers(all=True, filters={"label": f"{INSTANCE_LABEL}={server.instance_id}"})
            return left, names_in(folder), HostState.now().num_processes, used_disk(client)

        for _ in range(60):
            if remains() == ([], [], num_processes, disk):
                break
            await asyncio.sleep(1)  # a busy engine takes a while to remove what ended
        assert remains() == ([], [], num_processes, disk)


@pytest.mark.timeout(150)
async def test_a_few_random_crashes_leave_nothing(tmp_path: Path) -> None:
    await rehearse_crashes(tmp_path, 5)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_a_hundred_random_crashes_leave_nothing(tmp_path: Path) -> None:
    await rehearse_crashes(tmp_path, 100)
