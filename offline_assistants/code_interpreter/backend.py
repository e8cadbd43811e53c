"""What closes a Python session off from this machine: the small interface that Docker and bubblewrap both fill. All above it is shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from offline_assistants.ports import MAX_SANDBOX_BYTES

USER_ID = 10001
"""Code runs as this user and group, whoever runs the server."""
MAX_SHARED_MEMORY_MB = 16
"""Of /dev/shm."""
MAX_FILES = 4096
"""In each folder that code can write to. Without it, a hundred thousand empty files cost 90 MB of the kernel's memory."""
MAX_OPEN_FILES = 1024
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
"""How many threads numeric libraries start; else one for each processor of the machine."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What the code of one session may use. Files in /mnt/data and /tmp live in memory, so they count against `memory_mb` too."""

    memory_mb: int = 1024
    data_mb: int = MAX_SANDBOX_BYTES >> 20
    temporary_mb: int = 64
    cpus: float = 1.0
    pids: int = 128
    """Processes and threads."""


class KernelProcess(Protocol):
    """A started kernel (`sandbox/kernel`), and the bytes to and from it. It ends when its stdin does."""

    @property
    def name(self) -> str:
        """Names it among those of its backend."""
        ...

    @property
    def is_closed(self) -> bool: ...

    @property
    def stderr_tail(self) -> str: ...

    async def read(self) -> bytes:
        """The next bytes of stdout; b"" when the kernel or its engine is gone."""
        ...

    async def write(self, data: bytes) -> None:
        """Raises OSError when the kernel or its engine is gone."""
        ...

    async def remove(self) -> None:
        """Hang up and kill it with all that it started; nothing of it is left. One that is gone is no error. Raises SandboxError; then it has hung up."""
        ...

    async def ask_engine(self) -> None:
        """Whether the process died alone. Raises SandboxUnavailable when what ran it is gone, too."""
        ...


class Backend(Protocol):
    """Starts kernels where they can do no harm. Made without asking anything of the machine: what is missing is found, and named, when it is needed."""

    async def check(self) -> str | None:
        """What is missing for code to run, as a sentence that says what to do; None when nothing is."""
        ...

    async def description(self) -> str:
        """What sessions run in, and what is weaker about it than it could be; a sentence without its full stop."""
        ...

    async def start(self) -> KernelProcess:
        """Raises SandboxUnavailable, SandboxError; then nothing is left behind."""
        ...

    async def list_names(self) -> list[str]:
        """Names of all that this instance has started, now or in an earlier life, and that is not gone yet. Raises SandboxError."""
        ...

    async def remove(self, name: str) -> None:
        """Kill and remove; what is gone already is no error. Raises SandboxError."""
        ...

    async def close(self) -> None:
        """Let go of the engine. Kernels that still run end with their stdin."""
        ...
