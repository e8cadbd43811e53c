"""`offline-assistants serve` as a user starts it: a process of its own, stopped or killed, and what is left of it afterwards."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import docker
import openai

from offline_assistants.code_interpreter.container import INSTANCE_LABEL

COMMAND = Path(sys.executable).with_name("offline-assistants")
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
CLIENT_TIMEOUT_S = 150

Process = tuple[int, str]
"""Process id and start time: an id alone may be given to another process."""


class ServerProcess:
    """One data directory, served on a free port until `stop` or `kill`; `start` again is a restart."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> ServerProcess:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [COMMAND, "serve", "--port", "0"],
                env={**os.environ, "OFFLINE_ASSISTANTS_DATA_DIR": str(self.data_dir)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: "serves on" in self.log or not self.is_running, START_TIMEOUT_S)
        assert self.is_running, self.log
        self.url = self.log.partition("serves on ")[2].split()[0]
        return self

    def stop(self) -> None:
        """SIGTERM, and an orderly end."""
        if self._process is not None and self.is_running:
            self._process.terminate()
            assert self._process.wait(STOP_TIMEOUT_S) == 0, self.log

    def kill(self) -> None:
        """SIGKILL: the process has no chance to tidy up."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT_S)

    def end(self) -> None:
        """Whatever happened in a test, nothing is left."""
        if self._process is not None and self.is_running:
            self.kill()
        for pid, _ in self.processes():
            os.kill(pid, signal.SIGKILL)

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key="none", max_retries=0, timeout=CLIENT_TIMEOUT_S)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def processes(self) -> set[Process]:
        """The server and what it started, by the data directory in their environment: it stays there when the parent is gone."""
        mark = f"OFFLINE_ASSISTANTS_DATA_DIR={self.data_dir}".encode()
        return {process for process in all_processes() if mark in environment(process[0])}

    def family(self) -> set[Process]:
        """The server and its descendants, by parent."""
        assert self._process is not None
        parents = {process[0]: parent_of(process[0]) for process in all_processes()}
        ids = {self._process.pid}
        while more := {pid for pid, parent in parents.items() if parent in ids} - ids:
            ids |= more
        return {process for process in all_processes() if process[0] in ids}

    def containers(self) -> list[str]:
        """Ids of the containers of this data directory, running or not."""
        instance = hashlib.sha256(str(self.data_dir.resolve()).encode()).hexdigest()[:16]
        client = docker.from_env()
        try:
            return [container["Id"] for container in client.api.containers(all=True, filters={"label": f"{INSTANCE_LABEL}={instance}"})]
        finally:
            client.close()


def wait_until(is_so: Callable[[], object], timeout_s: float, *, every_s: float = 0.05) -> bool:
    """Whether it became so in time."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


# ── /proc ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def all_processes() -> set[Process]:
    """Every process that lives; one that only waits to be collected by its parent does not."""
    found = ((int(entry.name), stat_of(int(entry.name))) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {(pid, stat[19]) for pid, stat in found if stat and stat[0] != "Z"}


def parent_of(pid: int) -> int | None:
    stat = stat_of(pid)
    return int(stat[1]) if stat else None


def stat_of(pid: int) -> list[str]:
    """What follows the command in /proc/PID/stat: state, parent, ...; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
