"""How a session's container is closed off: the options of `docker create`, in one place. `sandbox/README.md` says what each one is against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

INSTANCE_LABEL = "offline-assistants.instance"
USER_ID = 10001
_MB = 1024 * 1024
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """What the code of one session may use. Files in /mnt/data and /tmp live in memory, so they count against `memory_mb` too."""

    memory_mb: int = 1024
    data_mb: int = 256
    temporary_mb: int = 64
    cpus: float = 1.0
    pids: int = 128
    """Processes and threads."""


def container_options(*, image: str, instance_id: str, seccomp_profile: str, limits: ContainerLimits, runtime: str | None) -> dict[str, Any]:
    """For DockerEngine.start_container. The container ends with its stdin and then removes itself, so it cannot outlive the server."""
    num_threads = str(max(1, math.floor(limits.cpus)))
    return {
        "image": image,
        "labels": {INSTANCE_LABEL: instance_id},
        "user": f"{USER_ID}:{USER_ID}",
        "hostname": "sandbox",
        "stdin_open": True,
        "network_disabled": True,
        "environment": dict.fromkeys(_THREAD_VARIABLES, num_threads),
        "host_config": {
            "auto_remove": True,
            "network_mode": "none",
            "read_only": True,
            "tmpfs": {
                "/mnt/data": _tmpfs(limits.data_mb, mode="0700"),
                "/tmp": _tmpfs(limits.temporary_mb, mode="1777"),  # noqa: S108  the container's own
            },
            "shm_size": 16 * _MB,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true", f"seccomp={seccomp_profile}"],
            "pids_limit": limits.pids,
            "mem_limit": limits.memory_mb * _MB,
            "memswap_limit": limits.memory_mb * _MB,
            "nano_cpus": int(limits.cpus * 1e9),
            "ulimits": [_ulimit("nofile", 1024), _ulimit("core", 0), _ulimit("fsize", limits.data_mb * _MB)],
            "log_config": {"Type": "none", "Config": {}},
            "ipc_mode": "private",
            "runtime": runtime,
        },
    }


def _tmpfs(size_mb: int, *, mode: str) -> str:
    # nr_inodes: without it, a hundred thousand empty files cost 90 MB of the kernel's memory.
    return f"size={size_mb}m,nr_inodes=4096,mode={mode},uid={USER_ID},gid={USER_ID},nosuid,nodev,noexec"


def _ulimit(name: str, value: int) -> dict[str, Any]:
    return {"Name": name, "Soft": value, "Hard": value}
