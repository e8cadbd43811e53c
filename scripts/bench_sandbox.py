"""What code_interpreter costs, against `docker run --rm IMAGE python3 -c 'print(1)'` in the same run."""

from __future__ import annotations

import asyncio
import subprocess
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing

import docker
from bench_figures import Row

from offline_assistants.code_interpreter.container import INSTANCE_LABEL
from offline_assistants.code_interpreter.docker_sandbox import DockerSandbox
from offline_assistants.code_interpreter.image import image_tag, sandbox_folder
from offline_assistants.code_interpreter.sessions import SessionLimits
from offline_assistants.ports import ExecutionEnded, SandboxFile

FIVE_MB = 5_000_000
NUM_WARM_CALLS = 50
NUM_BUSY = 8
WORK = "for _ in range(6_000_000): pass"
CALL_TIMEOUT_S = 60.0
SPARE_TIMEOUT_S = 30.0
WITH_PANDAS = "import pandas as pd; print(pd.DataFrame({'a': [1, 2]}).sum())"


class SandboxBench:
    """One sample of each figure; `x` is the time of the yardstick."""

    def __init__(self) -> None:
        self.yardstick = Row("docker run --rm, print(1)", "ms", None)
        self.cold = Row("first call of a thread, nothing ready, print(1)", "x", 1.3)
        self.spare = Row("first call of a thread, from the pool, with pandas", "x", 0.05)
        self.warm = Row("print(1) in a session", "x", 0.01)
        self.warm_ms = Row("print(1) in a session, absolute", "ms", None)
        self.png_out = Row("5 MB png out", "x", 0.3)
        self.csv_in = Row("5 MB csv in", "x", 0.3)
        self.memory = Row("memory of an idle session, numpy, pandas and half of matplotlib imported", "MB", 80.0)
        self.fairness = Row(f"{NUM_BUSY} busy sessions, equal work, slowest over fastest", "x", 1.5)
        self.rows = [self.yardstick, self.cold, self.spare, self.warm, self.warm_ms, self.png_out, self.csv_in, self.memory, self.fairness]

    def measure(self) -> None:
        asyncio.run(self._measure())

    async def _measure(self) -> None:
        yardstick_s = await asyncio.to_thread(docker_run_s)
        self.yardstick.samples.append(yardstick_s * 1000)
        async with opened_sandbox(num_spares=0) as (sandbox, _):
            self.cold.samples.append(await call_s(sandbox, "print(1)") / yardstick_s)
        async with opened_sandbox(num_spares=1) as (sandbox, instance_id):
            self.memory.samples.append(await spare_mb(sandbox, instance_id))
            self.spare.samples.append(await call_s(sandbox, WITH_PANDAS) / yardstick_s)
        async with opened_sandbox(num_spares=0) as (sandbox, _):
            await self._measure_session(sandbox, yardstick_s)
        async with opened_sandbox(num_spares=0) as (sandbox, _):
            self.fairness.samples.append(await slowest_over_fastest(sandbox))

    async def _measure_session(self, sandbox: DockerSandbox, yardstick_s: float) -> None:
        await call_s(sandbox, f"import os; png = b'\\x89PNG\\r\\n\\x1a\\n' + os.urandom({FIVE_MB})")
        calls = sorted([await call_s(sandbox, "print(1)") for _ in range(NUM_WARM_CALLS)])
        median_s = calls[len(calls) // 2]
        self.warm.samples.append(median_s / yardstick_s)
        self.warm_ms.samples.append(median_s * 1000)
        self.png_out.samples.append(await call_s(sandbox, "_ = open('noise.png', 'wb').write(png)") / yardstick_s)
        table = SandboxFile("file-table", "table.csv", b"1,2,3,4\n" * (FIVE_MB // 8))
        self.csv_in.samples.append(await call_s(sandbox, "", files=[table]) / yardstick_s)


@asynccontextmanager
async def opened_sandbox(*, num_spares: int) -> AsyncGenerator[tuple[DockerSandbox, str]]:
    instance_id = f"bench-{uuid.uuid4().hex}"
    async with DockerSandbox(instance_id, session_limits=SessionLimits(num_spares=num_spares, max_sessions=NUM_BUSY)) as sandbox:
        yield sandbox, instance_id


def docker_run_s() -> float:
    """Seconds until the command is back; the container is removed by then."""
    began = time.perf_counter()
    command = ["docker", "run", "--rm", "--entrypoint", "python3", image_tag(sandbox_folder()), "-c", "print(1)"]
    subprocess.run(command, check=True, capture_output=True, timeout=CALL_TIMEOUT_S)
    return time.perf_counter() - began


async def call_s(sandbox: DockerSandbox, code: str, *, files: Sequence[SandboxFile] = (), thread_id: str = "thread_bench") -> float:
    """Seconds from the call to its last event. Raises RuntimeError when the code failed."""
    began = time.perf_counter()
    events = [event async for event in sandbox.execute(thread_id, code, files, CALL_TIMEOUT_S)]
    if events[-1] != ExecutionEnded("ok"):
        raise RuntimeError(f"{code!r} ended with {events[-1]}")
    return time.perf_counter() - began


async def spare_mb(sandbox: DockerSandbox, instance_id: str) -> float:
    """What the spare session's container needs once its libraries are imported, without the page cache, in MB of 10^6 bytes."""
    await sandbox.warm()
    deadline, before, now = time.perf_counter() + SPARE_TIMEOUT_S, 0.0, 0.0
    while time.perf_counter() < deadline and not (now > 40 and now == before):  # it grows while it imports
        await asyncio.sleep(1.0)
        before, now = now, await asyncio.to_thread(container_mb, instance_id)
    return now


def container_mb(instance_id: str) -> float:
    with closing(docker.from_env()) as client:
        found = client.api.containers(filters={"label": f"{INSTANCE_LABEL}={instance_id}"})
        if not found:
            return 0.0
        memory = client.api.stats(found[0]["Id"], stream=False).get("memory_stats", {})
        counts = memory.get("stats", {})
        cache = counts.get("total_inactive_file", counts.get("inactive_file", 0))
        return (memory.get("usage", 0) - cache) / 1e6


async def slowest_over_fastest(sandbox: DockerSandbox) -> float:
    """Equal work in sessions that are open already, all at once."""
    threads = [f"thread_{number}" for number in range(NUM_BUSY)]
    for thread_id in threads:
        await call_s(sandbox, "", thread_id=thread_id)
    walls = await asyncio.gather(*(call_s(sandbox, WORK, thread_id=thread_id) for thread_id in threads))
    return max(walls) / min(walls)
