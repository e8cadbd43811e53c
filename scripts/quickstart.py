"""What scripts/quickstart does after set-up: start the server, wait for it, run scripts/demo.py against it. Standard library only."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
COMMAND = Path(sys.executable).with_name("offline-assistants")
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30

Process = tuple[int, str]
"""Process id and start time: an id alone may be given to another process."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/quickstart")
    parser.add_argument("--demo-only", action="store_true")
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    return show_and_stop(arguments.port or free_port()) if arguments.demo_only else show_and_stay(arguments.port or 8000)


def show_and_stop(port: int) -> int:
    """The demo on a server of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="offline-assistants-", ignore_cleanup_errors=True) as data_dir, running_server(port, data_dir=data_dir) as server:
        if (status := show_demo(port)) != 0:
            print(f"\nThe end of the server's log:\n{tail(server.log)}", file=sys.stderr)
    if server.is_anything_left:
        print("Processes of the server were left after it had stopped (see above).", file=sys.stderr)
    return status or int(server.is_anything_left)


def show_and_stay(port: int) -> int:
    """The demo on a server that keeps running; one that runs already is used."""
    pid, command = listener(port)
    if command is None:
        server = Server(port)
        try:
            server.wait_until_ready()
        except BaseException:
            server.stop()
            raise
        pid, log = server.process.pid, f"\nIts log:       {server.log}"
    elif "offline-assistants serve" in command:
        print(f"The server that already listens on port {port} is used.")
        log = ""
    else:
        sys.exit(f"Port {port} is taken by {command} (process {pid or 'unknown'}). Choose another:  scripts/quickstart --port {free_port()}")
    status = show_demo(port)
    print(f"\nThe server keeps running at http://127.0.0.1:{port}/v1\nThe page:      http://127.0.0.1:{port}/\nStop it with:  kill {pid}{log}")
    return status


def show_demo(port: int) -> int:
    return subprocess.run([sys.executable, ROOT / "scripts" / "demo.py", "--base-url", f"http://127.0.0.1:{port}/v1"], cwd=ROOT, check=False).returncode


class Server:
    """`offline-assistants serve` in a session of its own, so that Ctrl-C here does not reach it."""

    def __init__(self, port: int, *, data_dir: str | None = None) -> None:
        self.port = port
        log_dir = Path(data_dir) if data_dir else Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "offline-assistants"
        log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log = log_dir / "server.log"
        self.is_anything_left = False
        options = ["--host", "127.0.0.1", "--port", str(port), *(["--data-dir", data_dir] if data_dir else [])]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([COMMAND, "serve", *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def wait_until_ready(self) -> None:
        """Until /v1/models answers. Exits with the end of the log when that does not come."""
        began = last_said = time.monotonic()
        while not answers(self.port):
            now = time.monotonic()
            if self.process.poll() is not None:
                self._give_up(f"The server ended with status {self.process.returncode}.")
            if now - began > START_TIMEOUT_S:
                self._give_up(f"The server does not answer after {START_TIMEOUT_S} s.")
            if now - last_said > 2:
                print(f"Starting the server: {now - began:.0f} s", flush=True)
                last_said = now
            time.sleep(0.1)
        print(f"The server is ready at http://127.0.0.1:{self.port}/v1 ({time.monotonic() - began:.1f} s).", flush=True)

    def stop(self) -> None:
        """SIGTERM, then wait until it and all of its children are gone; SIGKILL, and a remark, for what does not go."""
        family = descendants(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            print(f"The server did not end within {STOP_TIMEOUT_S} s of SIGTERM.", file=sys.stderr)
            self.process.kill()
            self.process.wait()
            self.is_anything_left = True
        deadline = time.monotonic() + 5
        while (left := {each for each in all_processes() if each in family or session(each[0]) == self.process.pid}) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid, _ in left:
            self.is_anything_left = True
            print(f"left: process {pid}: {command_line(pid)}", file=sys.stderr)
            os.kill(pid, signal.SIGKILL)

    def _give_up(self, reason: str) -> NoReturn:
        sys.exit(f"{reason} The end of its log ({self.log}):\n{tail(self.log)}")


@contextmanager
def running_server(port: int, *, data_dir: str) -> Iterator[Server]:
    server = Server(port, data_dir=data_dir)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:])


# ── Processes, as Linux shows them; elsewhere there is nothing to see ────────────────────────────────────────────────


def listener(port: int) -> tuple[int | None, str | None]:
    """Process and command line of who listens on the port; (None, None) when nobody does."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            pass
        else:
            return None, None
    sockets = {f"socket:[{inode}]" for inode in listening_inodes(port)}
    for pid, _ in all_processes():
        try:
            if any(str(descriptor.readlink()) in sockets for descriptor in Path(f"/proc/{pid}/fd").iterdir()):
                return pid, command_line(pid)
        except OSError:
            continue  # another user's, or gone
    return None, "a program of another user"


def listening_inodes(port: int) -> set[str]:
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def status_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on: state, parent, group, session, ...; none when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def all_processes() -> set[Process]:
    """Every process but the dead that nobody has waited for."""
    pids = [int(folder.name) for folder in (Path("/proc").iterdir() if Path("/proc/self/stat").exists() else []) if folder.name.isdigit()]
    return {(pid, fields[19]) for pid in pids if (fields := status_fields(pid)) and fields[0] != "Z"}


def descendants(root: int) -> set[Process]:
    everyone = all_processes()
    family = {root}
    while (more := family | {pid for pid, _ in everyone if (fields := status_fields(pid)) and int(fields[1]) in family}) != family:
        family = more
    return {process for process in everyone if process[0] in family}


def session(pid: int) -> int:
    return int((status_fields(pid) or ["", "", "", "0"])[3])


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "gone"


if __name__ == "__main__":
    sys.exit(main())
