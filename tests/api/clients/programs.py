"""Clients in processes of their own: other versions of the Python SDK, and the Node SDK. Each is installed once into a cache, exactly as locked.

A job is `{"url", "way", "thread_id", "assistant_id", "options", "output", "cancel_at"}`; `way` is one of WAYS in python_client.py, and "follow" (the only
one that Node knows) streams a run, answers the functions it calls with `output`, and cancels it once its text holds `cancel_at`.
The outcome is `{"events", "texts", "done_steps", "snapshots", "run", "steps", "messages"}`: the last two are what the SDK has accumulated, `done_steps` what it
was given as complete. Where it raised, `"error"` and `"error_class"` stand in place of the last three.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "offline-assistants" / "clients"
INSTALL_TIMEOUT_S = 240
PYTHON_VERSIONS = ("1.99.9", "2.54.0")


class ClientProgram:
    """A client that takes one job after the other."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self._read()["version"]

    def do(self, **job: Any) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.communicate(timeout=20)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the client ended"
        return json.loads(line)


def python_program(version: str) -> ClientProgram:
    """The SDK of that version; "installed" is the one that all other tests use."""
    path = "" if version == "installed" else str(_python_sdk(version))
    return ClientProgram([sys.executable, "-P", str(HERE / "python_client.py")], {"PYTHONPATH": path})


def node_program() -> ClientProgram:
    folder = _node_sdk()
    return ClientProgram(["node", str(folder / "client.mjs")], {})


def _python_sdk(version: str) -> Path:
    locked = HERE / f"openai-{version}.txt"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--no-deps"]
    return _installed(CACHE / f"openai-{version}-{_digest(locked)}", lambda draft: [*pip, "--requirement", str(locked), "--target", str(draft)])


def _node_sdk() -> Path:
    if shutil.which("node") is None or shutil.which("npm") is None:
        missing("node and npm are not installed")
    ours = HERE / "node"
    folder = CACHE / f"node-{_digest(*sorted(ours.iterdir()))}"

    def command(draft: Path) -> list[str]:
        shutil.copytree(ours, draft, dirs_exist_ok=True)
        return ["npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(draft)]

    return _installed(folder, command)


def _installed(folder: Path, command: Callable[[Path], list[str]]) -> Path:
    if folder.is_dir():
        return folder
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")
    draft.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(command(draft), capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
        if done.returncode != 0:
            missing(f"{folder.name} cannot be installed: {(done.stderr or done.stdout).strip()[-500:]}")
        if not folder.is_dir():
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def missing(reason: str) -> None:
    """The test is skipped; in CI it fails."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files if file.is_file())).hexdigest()[:12]
