"""How a session's container is closed off: the options of `docker create`, in one place. `sandbox/README.md` says what each one is against."""

from __future__ import annotations

import math
from typing import Any

from offline_assistants.code_interpreter.backend import MAX_FILES, MAX_OPEN_FILES, MAX_SHARED_MEMORY_MB, THREAD_VARIABLES, USER_ID, SandboxLimits

INSTANCE_LABEL = "offline-assistants.instance"
_MB = 1024 * 1024


def container_options(*, image: str, instance_id: str, limits: SandboxLimits, runtime: str | None) -> dict[str, Any]:
    """For DockerEngine.start_container. The container ends with its stdin and then removes itself, so it cannot outlive the server."""
    num_threads = str(max(1, math.floor(limits.cpus)))
    return {
        "image": image,
        "labels": {INSTANCE_LABEL: instance_id},
        "user": f"{USER_ID}:{USER_ID}",
        "hostname": "sandbox",
        "stdin_open": True,
        "network_disabled": True,
        "environment": dict.fromkeys(THREAD_VARIABLES, num_threads),
        "host_config": {
            "auto_remove": True,
            "network_mode": "none",
            "read_only": True,
            "tmpfs": {
                "/mnt/data": _tmpfs(limits.data_mb, mode="0700"),
                "/tmp": _tmpfs(limits.temporary_mb, mode="1777"),  # noqa: S108  the container's own
            },
            "shm_size": MAX_SHARED_MEMORY_MB * _MB,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "pids_limit": limits.pids,
            "mem_limit": limits.memory_mb * _MB,
            "memswap_limit": limits.memory_mb * _MB,
            "nano_cpus": int(limits.cpus * 1e9),
            "ulimits": [_ulimit("nofile", MAX_OPEN_FILES), _ulimit("core", 0), _ulimit("fsize", limits.data_mb * _MB)],
            "log_config": {"Type": "none", "Config": {}},
            "ipc_mode": "private",
            "runtime": runtime,
        },
    }


def _tmpfs(size_mb: int, *, mode: str) -> str:
    return f"size={size_mb}m,nr_inodes={MAX_FILES},mode={mode},uid={USER_ID},gid={USER_ID},nosuid,nodev,noexec"


def _ulimit(name: str, value: int) -> dict[str, Any]:
    return {"Name": name, "Soft": value, "Hard": value}
