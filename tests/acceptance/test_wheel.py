"""The wheel, installed outside of the clone: it holds what it needs and nothing of this machine, and its commands work."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: object, cwd: Path | None = None) -> str:
    """What the command printed; fails with it when the command fails."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def tracked(*folders: str) -> list[str]:
    """Files below the folders that git knows or would take, and that are there."""
    names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", *folders, cwd=ROOT).splitlines()
    return sorted({name for name in names if (ROOT / name).is_file()})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tree in which a proxy's certificate lies, as it does on machines behind such a proxy."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked("pyproject.toml", "README.md", "LICENSE", ".gitignore", "offline_assistants", "sandbox", "models"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    (source / "sandbox" / "certs" / "proxy.crt").write_text("a certificate")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", target, cwd=source)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a virtual environment that has the wheel, and for all else the packages of this one."""
    home = tmp_path_factory.mktemp("with a space") / "venv"
    venv.create(home)
    run(sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "--quiet", "--no-deps", "--no-index", wheel)
    packages = next(home.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # .pth files in there are not followed: the clone stays out of sight
    return home / "bin"


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    assert set(tracked("offline_assistants")) <= names


def test_the_wheel_holds_the_sandbox_and_the_catalog_and_no_certificate(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    packaged = {name.removeprefix("offline_assistants/_packaged/") for name in names if "/_packaged/" in name}
    assert packaged == {*tracked("sandbox"), "models/catalog.toml"}
    assert not [name for name in names if name.endswith((".crt", ".pyc", ".gguf"))]


def test_the_installed_package_is_not_the_clone(installed: Path, tmp_path: Path) -> None:
    where = Path(run(installed / "python", "-c", "import offline_assistants; print(offline_assistants.__file__)", cwd=tmp_path).strip())

    assert where.is_relative_to(installed.parent)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(installed: Path, port: int, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [installed / "offline-assistants", "serve", "--port", str(port), "--data-dir", tmp_path / "data"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
        yield process
        process.terminate()
        assert process.wait(20) == 0, (tmp_path / "log").read_text()


def models_of(port: int, server: subprocess.Popen[bytes]) -> list[str]:
    """The models that the server lists, once it answers."""
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5) as answer:
                return [model["id"] for model in json.load(answer)["data"]]
        except urllib.error.URLError:
            time.sleep(0.1)
    pytest.fail(f"the server ended with status {server.returncode}")


@pytest.mark.model
@pytest.mark.timeout(90)
def test_the_installed_server_lists_the_starter_model(server: subprocess.Popen[bytes], port: int) -> None:
    models = models_of(port, server)

    assert "smollm2-135m-instruct" in models


@pytest.mark.docker
@pytest.mark.timeout(60)
def test_the_installed_package_knows_the_image_that_set_up_built(installed: Path, tmp_path: Path) -> None:
    began = time.monotonic()

    run(installed / "offline-assistants", "sandbox", "build", cwd=tmp_path)

    assert time.monotonic() - began < 15  # a build takes minutes
