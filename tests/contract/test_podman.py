"""Podman in Docker's place, through its Docker-compatible socket: the same walls hold, made of its own words for the options."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from offline_assistants.code_interpreter.attacks import ISOLATION
from offline_assistants.code_interpreter.docker_engine import DockerEngine
from offline_assistants.code_interpreter.docker_sandbox import DockerSandbox
from offline_assistants.code_interpreter.image import export_image, import_image
from offline_assistants.code_interpreter.self_check import run_checks

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture
def podman() -> Iterator[str]:
    """The address of a Podman with a store of its own."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    with tempfile.TemporaryDirectory(prefix="podman-", ignore_cleanup_errors=True) as folder:
        places = ["--root", f"{folder}/root", "--runroot", f"{folder}/run"]
        service = subprocess.Popen(["podman", *places, "system", "service", "--time=0", f"unix://{folder}/podman.sock"])
        try:
            while not Path(folder, "podman.sock").exists():
                time.sleep(0.1)
            yield f"unix://{folder}/podman.sock"
        finally:
            service.terminate()
            service.wait()
            subprocess.run(["podman", *places, "system", "reset", "--force"], check=False, capture_output=True)


async def test_every_wall_holds_on_podman(podman: str, tmp_path: Path) -> None:
    await _copy_image(tmp_path / "image.tar", podman)

    async with DockerSandbox(f"test-{uuid.uuid4().hex}", docker_host=podman) as sandbox:
        findings = [finding async for finding in run_checks(sandbox, ISOLATION, is_thorough=False)]

    assert [(finding.check.name, finding.failures) for finding in findings if not finding.holds] == []


async def _copy_image(archive: Path, podman: str) -> None:
    docker, engine = DockerEngine(), DockerEngine(podman)
    await export_image(archive, engine=docker)
    await import_image(archive, engine=engine)
    await docker.close()
    await engine.close()
