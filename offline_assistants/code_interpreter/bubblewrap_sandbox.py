"""The Sandbox port on bubblewrap: a process in namespaces of its own for each session, where no container engine is. Weaker than Docker; README says how.

The walls are the same options, made of other parts: the image as a read-only folder, tmpfs with limits, no network, no powers, our seccomp profile as a
program (`seccomp.py`), limits from control groups where this user may have some, else per process. `bubblewrap_entry.py` finishes them from inside.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import platform
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from offline_assistants.code_interpreter import bubblewrap_entry
from offline_assistants.code_interpreter.backend import MAX_FILES, MAX_OPEN_FILES, MAX_SHARED_MEMORY_MB, THREAD_VARIABLES, USER_ID, SandboxLimits
from offline_assistants.code_interpreter.control_groups import ControlGroup, ControlGroups, find_control_groups, systemd_scope
from offline_assistants.code_interpreter.image import image_tag, sandbox_folder
from offline_assistants.code_interpreter.kernel_protocol import OutputLimits
from offline_assistants.code_interpreter.seccomp import seccomp_program
from offline_assistants.code_interpreter.session_sandbox import SessionSandbox
from offline_assistants.code_interpreter.sessions import SessionLimits
from offline_assistants.code_interpreter.unpacked_image import UnpackedImage, unpacked_image
from offline_assistants.errors import SandboxError, SandboxUnavailable

_READ_BYTES = 256 * 1024
_TAIL_BYTES = 4096
_END_TIMEOUT_S = 10.0
_PROBE_TIMEOUT_S = 20.0
_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = (("/proc/self/fd", "/dev/fd"), ("/proc/self/fd/0", "/dev/stdin"), ("/proc/self/fd/1", "/dev/stdout"), ("/proc/self/fd/2", "/dev/stderr"))
_SYS_FOLDERS = ("/sys/fs", "/sys/fs/cgroup", "/sys/fs/cgroup/memory")
_NAMESPACES = ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
_NOT_INSTALLED = "code_interpreter is unavailable: bubblewrap is not installed. Install it (`sudo apt-get install bubblewrap`)."
_NO_IMAGE = (
    "code_interpreter is unavailable: bubblewrap has no image to run. Run `offline-assistants sandbox build`, "
    "or `offline-assistants sandbox import FILE` with what `sandbox export FILE` wrote on another machine."
)


class BubblewrapSandbox(SessionSandbox):
    """See SessionSandbox."""

    def __init__(
        self,
        instance_id: str,
        *,
        images: Path,
        sandbox_limits: SandboxLimits | None = None,
        output_limits: OutputLimits | None = None,
        session_limits: SessionLimits | None = None,
        sweep_s: float = 300.0,
    ) -> None:
        """See BubblewrapBackend and SessionSandbox. Raises SandboxUnavailable when the installation has no sandbox folder."""
        backend = BubblewrapBackend(instance_id, images=images, limits=sandbox_limits or SandboxLimits())
        super().__init__(backend, output_limits=output_limits, session_limits=session_limits, sweep_s=sweep_s)


@dataclass(frozen=True, slots=True)
class _Limiter:
    """What holds a session's memory, processes and processors: groups of ours, one of systemd's, or neither."""

    groups: ControlGroups | None
    scope: list[str] | None


class BubblewrapBackend:
    """See Backend."""

    def __init__(self, instance_id: str, *, images: Path, limits: SandboxLimits, program: str = "bwrap") -> None:
        """`images` is the folder of unpacked images; `program` is looked for on the PATH.

        Raises SandboxUnavailable when the installation has no sandbox folder.
        """
        folder = sandbox_folder()
        self._instance_id = instance_id
        self._image = image_tag(folder)
        self._profile = (folder / "seccomp.json").read_text()
        self._images = images
        self._limits = limits
        self._program = program
        self._numbers = itertools.count(1)
        self._limiter: _Limiter | None = None
        self._is_proven = False

    async def check(self) -> str | None:
        try:
            await self._prove()
        except SandboxError as error:
            return error.message
        return None

    async def description(self) -> str:
        limiter = await self._find_limiter()
        weaker = "no second wall of AppArmor or SELinux around it"
        if limiter.groups is None and limiter.scope is None:
            weaker += ", and no limit on the memory and processors of a session, only on those of each of its processes"
        return f"bubblewrap, which is weaker than Docker: {weaker}"

    async def start(self) -> BubblewrapProcess:
        image = await self._prove()
        limiter = await self._find_limiter()
        number = next(self._numbers)
        is_limited = limiter.groups is not None or limiter.scope is not None
        group = await asyncio.to_thread(limiter.groups.make, number, self._limits) if limiter.groups is not None else None

        def command(info_fd: int) -> list[str]:
            inner = self._command(image, group, is_limited=is_limited, info_fd=info_fd)
            return [*(limiter.scope or ()), *(group.entered_by(inner) if group is not None else inner)]

        try:
            return await BubblewrapProcess.start(command, group, f"{self._instance_id}-{number}")
        except (OSError, ValueError) as error:
            if group is not None:
                await asyncio.to_thread(group.remove)
            raise SandboxUnavailable(f"code_interpreter is unavailable: bubblewrap does not start ({error}).") from error

    async def list_names(self) -> list[str]:
        groups = (await self._find_limiter()).groups
        return await asyncio.to_thread(groups.list_names) if groups is not None else []

    async def remove(self, name: str) -> None:
        groups = (await self._find_limiter()).groups
        if groups is not None:
            await asyncio.to_thread(groups.remove, name)

    async def close(self) -> None:
        """There is no engine to let go of."""

    async def _find_limiter(self) -> _Limiter:
        if self._limiter is None:
            groups = await asyncio.to_thread(find_control_groups, self._instance_id)
            self._limiter = _Limiter(groups, None if groups is not None else await asyncio.to_thread(systemd_scope, self._limits))
        return self._limiter

    async def _prove(self) -> UnpackedImage:
        """The image. Once: whether this machine lets bubblewrap make namespaces at all. Raises SandboxUnavailable."""
        if shutil.which(self._program) is None:
            raise SandboxUnavailable(_NOT_INSTALLED)
        image = await asyncio.to_thread(unpacked_image, self._images, self._image)
        if image is None:
            raise SandboxUnavailable(_NO_IMAGE)
        if not self._is_proven:
            await _probe(self._command(image, None, is_limited=True, final_command=["/usr/bin/true"]))
            self._is_proven = True
        return image

    def _command(
        self, image: UnpackedImage, group: ControlGroup | None, *, is_limited: bool, info_fd: int | None = None, final_command: Sequence[str] = ()
    ) -> list[str]:
        """All of it, up to the kernel or `final_command`. `is_limited`: something other than the limits of single processes holds the session."""
        command = [self._program, *_NAMESPACES, "--hostname", "sandbox", "--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"]
        if info_fd is not None:
            command += ["--info-fd", str(info_fd)]
        if os.geteuid() != 0:
            command += ["--unshare-user", "--uid", str(USER_ID), "--gid", str(USER_ID)]
        command += ["--cap-add", "ALL"]  # for the entry, which needs them to mount and gives all up
        command += ["--ro-bind", str(image.root), "/", "--proc", "/proc", "--tmpfs", "/dev"]
        for device in _DEVICES:
            command += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
        for target, link in _LINKS:
            command += ["--symlink", target, link]
        command += ["--dir", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108  the sandbox's own
        if group is not None and (events := group.memory_events) is not None:
            shown = "/sys/fs/cgroup/memory/memory.oom_control" if events.name == "memory.oom_control" else "/sys/fs/cgroup/memory.events"
            command += ["--tmpfs", "/sys", *(word for folder in _SYS_FOLDERS for word in ("--perms", "0755", "--dir", folder))]
            command += ["--ro-bind", str(events), shown, "--remount-ro", "/sys"]
        entry = Path(bubblewrap_entry.__file__).read_text(encoding="utf-8")
        plan = self._plan(image, is_limited=is_limited) | ({"command": list(final_command)} if final_command else {})
        return [*command, "--chdir", "/", "--", "/usr/bin/python3", "-I", "-c", entry, json.dumps(plan)]

    def _plan(self, image: UnpackedImage, *, is_limited: bool) -> dict[str, object]:
        """For bubblewrap_entry.main. Raises SandboxUnavailable on a kind of machine that the seccomp profile does not know."""
        limits = {"RLIMIT_NOFILE": MAX_OPEN_FILES, "RLIMIT_CORE": 0, "RLIMIT_FSIZE": self._limits.data_mb << 20}
        if not is_limited:
            limits |= {"RLIMIT_AS": self._limits.memory_mb << 20, "RLIMIT_NPROC": self._limits.pids}
        try:
            program = seccomp_program(self._profile, platform.machine())
        except ValueError as error:
            raise SandboxUnavailable(f"code_interpreter is unavailable in bubblewrap: {error}.") from error
        num_threads = str(max(1, int(self._limits.cpus)))
        return {
            "folders": {
                "/mnt/data": _tmpfs(self._limits.data_mb, mode="0700"),
                "/tmp": _tmpfs(self._limits.temporary_mb, mode="1777"),  # noqa: S108  the sandbox's own
                "/dev/shm": _tmpfs(MAX_SHARED_MEMORY_MB, mode="1777"),  # noqa: S108  the sandbox's own
            },
            "user_id": USER_ID,
            "limits": limits,
            "seccomp": base64.b64encode(program).decode(),
            "command": list(image.command),
            "environment": image.environment | dict.fromkeys(THREAD_VARIABLES, num_threads),
            "working_folder": image.working_folder,
        }


class BubblewrapProcess:
    """See KernelProcess: bubblewrap, and its child, the kernel. Both end with this process: the kernel's stdin does."""

    def __init__(self, process: asyncio.subprocess.Process, kernel_pid: int, group: ControlGroup | None, name: str) -> None:
        """Made by `start`. Raises OSError when one of both is gone already."""
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise OSError(0, "it has no pipes")
        self._process_fd = os.pidfd_open(process.pid)
        self._kernel_fd = os.pidfd_open(kernel_pid)
        self._process = process
        self._group = group
        self._name = group.name if group is not None else name
        self._stdin, self._stdout = process.stdin, process.stdout
        self._door = asyncio.Lock()
        """A stream has one reader at a time, and `remove` may come while a call waits for output."""
        self._stderr = b""
        self._reading_stderr = asyncio.create_task(self._keep_tail(process.stderr))
        self._is_hung_up = False
        # bubblewrap's own bond to its child does not hold where code runs as another user than bubblewrap
        asyncio.get_running_loop().add_reader(self._process_fd, self._kill_kernel)

    @classmethod
    async def start(cls, command: Callable[[int], list[str]], group: ControlGroup | None, name: str) -> BubblewrapProcess:
        """`command` is given the descriptor on which bubblewrap says who its child is. Raises OSError, and ValueError when it does not say."""
        # systemd-run finds its bus by these; inside, the environment is another one
        environment = {key: os.environ[key] for key in ("PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS") if key in os.environ}
        pipe = asyncio.subprocess.PIPE
        info_fd, told_fd = os.pipe()
        with os.fdopen(info_fd, "rb") as info:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command(told_fd),
                    stdin=pipe,
                    stdout=pipe,
                    stderr=pipe,
                    cwd="/",
                    env=environment,
                    limit=4 * _READ_BYTES,
                    start_new_session=True,
                    pass_fds=(told_fd,),
                )
            finally:
                os.close(told_fd)
            try:
                return cls(process, int(json.loads(await asyncio.to_thread(info.read))["child-pid"]), group, name)
            except BaseException as error:
                with contextlib.suppress(ProcessLookupError):  # it ended by itself: its words say why
                    process.kill()
                _, words = await process.communicate()
                if isinstance(error, ValueError):
                    raise ValueError(words.decode(errors="replace").strip() or "it says nothing") from error
                raise

    @property
    def name(self) -> str:
        return self._name

    @property
    def is_closed(self) -> bool:
        return self._is_hung_up or self._process.returncode is not None or self._stdout.at_eof()

    @property
    def stderr_tail(self) -> str:
        return self._stderr.decode(errors="replace")

    async def read(self) -> bytes:
        async with self._door:
            return await self._stdout.read(_READ_BYTES)

    async def write(self, data: bytes) -> None:
        if self._is_hung_up:
            raise BrokenPipeError
        self._stdin.write(data)
        await self._stdin.drain()

    async def remove(self) -> None:
        self._is_hung_up = True
        self._stdin.close()
        self._kill_kernel()
        with contextlib.suppress(ProcessLookupError):  # it may have ended with its child
            self._process.kill()
        try:
            async with asyncio.timeout(_END_TIMEOUT_S):
                while await self.read():
                    pass  # its end is the end of the kernel, which holds the other end
                await asyncio.gather(self._process.wait(), self._reading_stderr)
        except TimeoutError as error:
            raise SandboxError("A session in bubblewrap does not end.") from error
        finally:
            if self._group is not None:
                await asyncio.to_thread(self._group.remove)

    async def ask_engine(self) -> None:
        """There is none that could be gone."""

    def _kill_kernel(self) -> None:
        if self._process_fd >= 0:
            asyncio.get_running_loop().remove_reader(self._process_fd)
            with contextlib.suppress(ProcessLookupError):  # it may have ended before bubblewrap did
                signal.pidfd_send_signal(self._kernel_fd, signal.SIGKILL)
            os.close(self._kernel_fd)
            os.close(self._process_fd)
            self._kernel_fd = self._process_fd = -1

    async def _keep_tail(self, stream: asyncio.StreamReader) -> None:
        while data := await stream.read(_TAIL_BYTES):
            self._stderr = (self._stderr + data)[-_TAIL_BYTES:]


async def _probe(command: Sequence[str]) -> None:
    """Raises SandboxUnavailable, with bubblewrap's own words, when the walls cannot be built on this machine."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, cwd="/", start_new_session=True
    )
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            _, words = await process.communicate()
    except TimeoutError:
        raise SandboxUnavailable("code_interpreter is unavailable: bubblewrap does not answer in time.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = words.decode(errors="replace").strip().splitlines()
        raise SandboxUnavailable(
            f"code_interpreter is unavailable: bubblewrap cannot close off a process here ({said[-1] if said else f'exit code {process.returncode}'}). "
            "Where the system keeps users from making namespaces, allow it for bwrap, or use Docker."
        )


def _tmpfs(size_mb: int, *, mode: str) -> str:
    return f"size={size_mb}m,nr_inodes={MAX_FILES},mode={mode},uid={USER_ID},gid={USER_ID}"
