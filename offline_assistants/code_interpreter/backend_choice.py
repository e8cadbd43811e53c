"""Which backend closes sessions off: the one that the settings name, or the strongest that this machine has."""

from __future__ import annotations

import logging
from pathlib import Path

from offline_assistants.code_interpreter.backend import Backend, KernelProcess, SandboxLimits
from offline_assistants.code_interpreter.bubblewrap_sandbox import BubblewrapBackend
from offline_assistants.code_interpreter.control_groups import GROUP_PREFIX
from offline_assistants.code_interpreter.docker_sandbox import DockerBackend
from offline_assistants.errors import SandboxError, SandboxUnavailable

_log = logging.getLogger(__name__)


def choose_backend(engine: str, instance_id: str, *, images: Path, limits: SandboxLimits, runtime: str | None, docker_host: str | None) -> Backend:
    """`engine` is "docker", "bubblewrap" or "auto": Docker where an engine answers, else bubblewrap. `runtime` or `docker_host` say that Docker is meant.

    See DockerBackend and BubblewrapBackend for the others. Raises SandboxUnavailable when the installation has no sandbox folder.
    """
    docker = DockerBackend(instance_id, limits=limits, runtime=runtime, docker_host=docker_host)
    bubblewrap = BubblewrapBackend(instance_id, images=images, limits=limits)
    if engine == "bubblewrap":
        return bubblewrap
    return docker if engine == "docker" or runtime or docker_host else StrongestBackend(docker, bubblewrap)


class StrongestBackend:
    """See Backend. Docker as soon as its engine has answered once, and from then on nothing weaker: code is never moved behind lower walls unasked."""

    def __init__(self, docker: DockerBackend, bubblewrap: BubblewrapBackend) -> None:
        self._docker = docker
        self._bubblewrap = bubblewrap
        self._why_no_docker: str | None = None
        self._is_docker_met = False

    async def check(self) -> str | None:
        backend = await self._strongest()
        missing = await backend.check()
        return missing if missing is None or backend is self._docker else self._both_missing(missing)

    async def description(self) -> str:
        return await (await self._strongest()).description()

    async def start(self) -> KernelProcess:
        backend = await self._strongest()
        if backend is not self._docker and (missing := await backend.check()) is not None:
            raise SandboxUnavailable(self._both_missing(missing))
        return await backend.start()

    async def list_names(self) -> list[str]:
        groups = await self._bubblewrap.list_names()
        return groups + (await self._docker.list_names() if await self._strongest() is self._docker else [])

    async def remove(self, name: str) -> None:
        await (self._bubblewrap if name.startswith(GROUP_PREFIX) else self._docker).remove(name)

    async def close(self) -> None:
        await self._docker.close()

    async def _strongest(self) -> Backend:
        if not self._is_docker_met:
            try:
                await self._docker.ask_engine()
                self._is_docker_met = True
            except SandboxError as error:
                if self._why_no_docker is None and await self._bubblewrap.check() is None:
                    _log.warning("%s Until then, code runs in %s.", error.message, await self._bubblewrap.description())
                self._why_no_docker = error.message
        return self._docker if self._is_docker_met else self._bubblewrap

    def _both_missing(self, missing_for_bubblewrap: str) -> str:
        rest = missing_for_bubblewrap.removeprefix("code_interpreter is unavailable: ")
        return f"{self._why_no_docker} Without Docker, code can run behind weaker walls, but {rest}"
