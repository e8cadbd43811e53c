"""The supervisor: PID 1 of the container. Speaks frames with the host over stdin and stdout, and keeps one worker that runs the code.

It holds the limits, so it shares nothing with the code: its memory and its pipes are closed to the worker (it is not dumpable), signals from inside do not
reach PID 1, and it takes no frame of the worker on trust. The container lives exactly as long as the host holds the other end of stdin.

The host speaks first:   hello → ready · put → put_done · execute → started, (logs | image)*, file*, ended · interrupt
Every answer carries the number of its request.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import shutil
import signal
import socket
import sys
import time
from dataclasses import dataclass, field

import cell
import cell_log
import data_folder
import frames
import processes

PROTOCOL = 2
_PRELOADED = ("numpy", "pandas", "matplotlib.text")
"""The last one is half of what pyplot imports. The other half would hold 10 MB in every idle session, and takes a quarter of a second at the first figure."""
_MAX_INPUT_BYTES = 16 << 20
"""Of one frame: the host sends a file in pieces, and code is short."""
_SECONDS_TO_SAY_HELLO = 20.0
_SECONDS_TO_REACT = 1.0
"""Between the interrupt and the kill."""
_PIPE_BYTES = 64 * 1024
_MAX_NOTES = 20
_MAX_LEFT_BEHIND = 16
"""Processes that may outlive their cell: pools of workers (joblib's) wait for the next one. More than that is a swarm, and ended."""


@dataclass(frozen=True)
class Limits:
    """What one call may give back; the host names them in its hello."""

    log_chars: int
    image_bytes: int
    images: int
    files: data_folder.Limits


@dataclass
class Cell:
    """The call that runs."""

    request: int
    timeout_s: float
    deadline: float
    log: cell_log.CellLog
    num_images: int = 0
    is_interrupted: bool = False
    is_state_lost: bool = False
    kill_at: float | None = None
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Said at the end, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)


@dataclass
class Worker:
    pid: int
    control: socket.socket
    output_fd: int
    output_write_fd: int
    """Held open here too, so that a worker that closes its own end cannot make ours readable for ever."""
    control_id: tuple[int, int]
    """Of its own end of `control`, to know who else holds it."""
    decoder: frames.FrameDecoder


class Supervisor:
    """One loop over four sources: the host, the worker's frames, the worker's output, and the deaths of children."""

    def __init__(self, limits: Limits, folder: data_folder.DataFolder, host: frames.FrameDecoder) -> None:
        self._limits = limits
        self._folder = folder
        self._host = host
        self._cell: Cell | None = None
        self._news_of_death: str | None = None
        self._put_error: str | None = None
        self._child_news, child_news = socket.socketpair()
        for end in (self._child_news, child_news):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)
        signal.set_wakeup_fd(child_news.fileno(), warn_on_full_buffer=False)
        self._keep_open = child_news
        self._num_oom_kills = processes.count_oom_kills()
        self._worker = self._start_worker()

    def run(self) -> None:
        """Until the host hangs up."""
        while True:
            worker = self._worker
            ready, _, _ = select.select([0, worker.control, worker.output_fd, self._child_news], [], [], self._seconds_to_next_deadline())
            if worker.output_fd in ready:
                self._forward_output(worker)
            if worker.control in ready:
                self._hear(worker)
            if self._child_news in ready:
                self._child_news.recv(4096)
                self._reap()
            self._enforce_deadlines()
            if 0 in ready and not self._obey_host():
                return

    # ── The host ──

    def _obey_host(self) -> bool:
        data = os.read(0, 1 << 20)
        for header, body in self._host.feed(data):
            match header["op"]:
                case "put":
                    self._put(header, body)
                case "execute":
                    self._execute(header, body)
                case "interrupt" if self._cell and self._cell.request == header["request"]:
                    self._interrupt(self._cell)
        return bool(data)

    def _put(self, header: dict, body: bytes) -> None:
        """One piece of a file. The last one is answered, with the first error that any piece met."""
        if header["offset"] == 0:
            self._put_error = None
        try:
            if self._put_error is None:
                self._folder.put(header["name"], header["link"] if header["is_last"] else None, header["offset"], body)
        except OSError as failure:
            self._put_error = failure.strerror or str(failure)
        if header["is_last"]:
            _tell_host({"event": "put_done", "request": header["request"], "error": self._put_error})

    def _execute(self, header: dict, code: bytes) -> None:
        request, timeout_s = header["request"], header["timeout_s"]
        self._cell = Cell(request, timeout_s, time.monotonic() + timeout_s, cell_log.CellLog(self._limits.log_chars))
        _tell_host({"event": "started", "request": request})
        if self._news_of_death:
            self._log(self._cell, f"[{self._news_of_death}]\n")
            self._cell.is_state_lost, self._news_of_death = True, None
        try:
            self._worker.control.sendall(frames.encode({"request": request}, code))
        except OSError:
            self._kill_worker()  # it does not listen: something of it still runs; its death ends the cell

    # ── The worker ──

    def _start_worker(self) -> Worker:
        ours, theirs = socket.socketpair()
        output_read, output_write = os.pipe()
        gc.freeze()  # a collection in the child would copy the pages that both share
        pid = processes.fork_among_the_dying()
        if pid == 0:
            _become_worker(theirs, output_write)
        control_id = processes.identity(theirs.fileno())
        theirs.close()
        os.set_blocking(output_read, False)
        ours.settimeout(5)
        return Worker(pid, ours, output_read, output_write, control_id, frames.FrameDecoder(self._limits.image_bytes + 1))

    def _forward_output(self, worker: Worker) -> None:
        """At most what a full pipe holds, so that endless output cannot keep us from the deadlines."""
        try:
            data = os.read(worker.output_fd, _PIPE_BYTES)
        except BlockingIOError:
            return
        if self._cell and (text := self._cell.log.feed(data)):
            self._log(self._cell, text)

    def _hear(self, worker: Worker) -> None:
        try:
            data = worker.control.recv(1 << 20)
            messages = list(worker.decoder.feed(data))
        except (OSError, frames.ProtocolError):
            data, messages = b"", []
        if not data:
            self._kill_worker()  # it hung up or talks nonsense; its death is heard of in _reap
        for header, body in messages:
            if self._cell is None or header.get("request") != self._cell.request:
                continue  # left over from an earlier cell, or made up
            self._forward_output(worker)
            if header.get("event") == "image":
                self._forward_image(self._cell, body)
            elif header.get("event") == "finished":
                self._finish(self._cell, str(header.get("status")))

    def _forward_image(self, current: Cell, png: bytes) -> None:
        if current.num_images >= self._limits.images:
            current.note(f"More than {self._limits.images} images: the rest is left out.")
        elif len(png) > self._limits.image_bytes:
            current.note(f"An image of more than {self._limits.image_bytes / 1e6:.0f} MB is left out.")
        elif not png.startswith(cell.PNG_SIGNATURE):
            current.note("What was shown as an image is no PNG, so it is left out.")
        else:
            _tell_host({"event": "image", "request": current.request}, png)
        current.num_images += 1
        try:
            self._worker.control.sendall(frames.encode({"heard": current.request}))
        except OSError:
            self._kill_worker()

    def _finish(self, current: Cell, status: str) -> None:
        if current.is_interrupted:
            self._end_cell("timeout", f"Stopped after {current.timeout_s:g} s, the time limit of one call. Variables and files are kept.")
        else:
            self._end_cell("ok" if status == "ok" else "error")

    def _reap(self) -> None:
        """PID 1 inherits every orphan. The worker's own death ends the cell and starts another worker."""
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._worker.pid:
                self._replace_worker(wait_status)

    def _replace_worker(self, wait_status: int) -> None:
        dead, current = self._worker, self._cell
        self._forward_output(dead)
        dead.control.close()
        os.close(dead.output_fd)
        os.close(dead.output_write_fd)
        processes.kill_all_but()
        reason = self._reason_of_death(wait_status, current)
        self._worker = self._start_worker()
        if current is None:
            self._news_of_death = f"Since the last call: {reason}"
        else:
            current.is_state_lost = True
            self._end_cell("timeout" if current.is_interrupted else "crashed", reason)

    def _reason_of_death(self, wait_status: int, current: Cell | None) -> str:
        before, self._num_oom_kills = self._num_oom_kills, processes.count_oom_kills()
        if current and current.is_interrupted:
            reason = f"Stopped after {current.timeout_s:g} s, the time limit of one call; as the code did not react, Python was ended."
        elif os.WIFEXITED(wait_status):
            reason = f"The Python process ended itself with exit code {os.WEXITSTATUS(wait_status)}."
        elif self._num_oom_kills > before:
            reason = "The Python process was ended because it needed more memory than there is."
        else:
            reason = f"The Python process was ended by {_signal_name(os.WTERMSIG(wait_status))}."
        return f"{reason} Variables are lost; files in /mnt/data are kept."

    def _kill_worker(self) -> None:
        os.kill(self._worker.pid, signal.SIGKILL)

    # ── The cell ──

    def _seconds_to_next_deadline(self) -> float | None:
        if self._cell is None:
            return None
        return max(0.0, (self._cell.kill_at or self._cell.deadline) - time.monotonic())

    def _enforce_deadlines(self) -> None:
        current, now = self._cell, time.monotonic()
        if current is None:
            return
        if current.kill_at is None and now >= current.deadline:
            self._interrupt(current)
        elif current.kill_at is not None and now >= current.kill_at:
            current.kill_at = now + _SECONDS_TO_REACT
            self._kill_worker()

    def _interrupt(self, current: Cell) -> None:
        if not current.is_interrupted:
            current.is_interrupted = True
            current.kill_at = time.monotonic() + _SECONDS_TO_REACT
            os.kill(self._worker.pid, signal.SIGINT)

    def _end_cell(self, status: str, note: str | None = None) -> None:
        current = self._cell
        left_behind = processes.others(self._worker.pid)
        if len(left_behind) > _MAX_LEFT_BEHIND:
            processes.kill_all_but(self._worker.pid)
        for pid in processes.holders(left_behind, self._worker.control_id):
            processes.kill(pid)  # it could answer the next call in the worker's name
        notes = [*([note] if note else []), *current.notes]
        for change in self._folder.changes(self._limits.files):
            if isinstance(change, data_folder.FoundFile):
                _write(frames.encode_head({"event": "file", "request": current.request, "path": change.path}, change.num_bytes))
                for piece in change.pieces:
                    _write(piece)
            elif len(notes) < _MAX_NOTES:
                notes.append(f"Not handed over: /mnt/data/{change.path}, because {change.reason}.")
        text = current.log.finish()
        separator = "\n" if notes and text and not text.endswith("\n") else ""
        self._log(current, text + separator + "".join(f"[{sentence}]\n" for sentence in notes))
        _tell_host({"event": "ended", "request": current.request, "status": status, "is_state_lost": current.is_state_lost})
        self._cell = None

    def _log(self, current: Cell, text: str) -> None:
        if text:
            _tell_host({"event": "logs", "request": current.request}, text.encode(errors="backslashreplace"))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # one of the real-time signals, which have no names


def _tell_host(header: dict, body: bytes = b"") -> None:
    _write(frames.encode(header, body))


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def _become_worker(control: socket.socket, output_fd: int) -> None:
    """Never returns: gives up all that is the supervisor's, then runs cells."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        kept = sorted((control.fileno(), output_fd))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        for low, high in zip([3, *(fd + 1 for fd in kept)], [*kept, 4096], strict=True):
            os.closerange(low, high)
        processes.set_dumpable(True)  # from here on other processes of the code may look inside: nothing of the supervisor's is open any more
        os.register_at_fork(after_in_child=control.close)  # children of the code must not answer in its name
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
        sys.stdin = open(0, closefd=False)
        sys.path[:] = [*(path for path in sys.path if path != os.path.dirname(__file__)), os.getcwd()]
        for name in ("cell", "cell_log", "data_folder", "frames", "processes"):
            sys.modules.pop(name)
        cell.serve_cells(control, output_fd)
    finally:
        os._exit(1)


def _await_hello(host: frames.FrameDecoder) -> tuple[Limits, bool]:
    """The host's first frame: the limits, and whether there is time to preload. Exits where none comes: nobody is there."""
    while select.select([0], [], [], _SECONDS_TO_SAY_HELLO)[0] and (data := os.read(0, 1 << 16)):
        for header, _ in host.feed(data):
            given = header["limits"]
            files = data_folder.Limits(given["files"], given["file_bytes"], given["total_file_bytes"])
            return Limits(given["log_chars"], given["image_bytes"], given["images"], files), header["preload"]
    raise SystemExit(0)


def _preload() -> None:
    """Import here what most code imports, so that every worker is born with it. Code may run without any of it."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # the others reserve 2 MB at the first table
    for name in _PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"{name} cannot be imported", file=sys.stderr)
    if "pandas" in sys.modules:
        str(sys.modules["pandas"].DataFrame({"a": [1]}).sum())  # the first table sets up what all others use


def main() -> None:
    processes.set_dumpable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    host = frames.FrameDecoder(_MAX_INPUT_BYTES)
    limits, has_time = _await_hello(host)
    _tell_host({"event": "ready", "protocol": PROTOCOL, "python": sys.version.split()[0]})
    shutil.copytree("/opt/mpl", os.environ["MPLCONFIGDIR"], dirs_exist_ok=True)
    if has_time:
        _preload()
    try:
        Supervisor(limits, data_folder.DataFolder(os.getcwd()), host).run()
    except BrokenPipeError:
        pass  # the host is gone


if __name__ == "__main__":
    main()
