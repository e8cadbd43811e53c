"""The Sandbox port on Docker: a container for each session."""

from __future__ import annotations

from offline_assistants.code_interpreter.backend import SandboxLimits
from offline_assistants.code_interpreter.container import INSTANCE_LABEL, container_options
from offline_assistants.code_interpreter.docker_engine import AttachedStream, DockerEngine
from offline_assistants.code_interpreter.image import image_tag, sandbox_folder
from offline_assistants.code_interpreter.kernel_protocol import OutputLimits
from offline_assistants.code_interpreter.session_sandbox import SessionSandbox
from offline_assistants.code_interpreter.sessions import SessionLimits
from offline_assistants.errors import SandboxError


class DockerSandbox(SessionSandbox):
    """See SessionSandbox."""

    def __init__(
        self,
        instance_id: str,
        *,
        sandbox_limits: SandboxLimits | None = None,
        output_limits: OutputLimits | None = None,
        session_limits: SessionLimits | None = None,
        runtime: str | None = None,
        docker_host: str | None = None,
        sweep_s: float = 300.0,
    ) -> None:
        """See DockerBackend and SessionSandbox. Raises SandboxUnavailable when the installation has no sandbox folder."""
        backend = DockerBackend(instance_id, limits=sandbox_limits or SandboxLimits(), runtime=runtime, docker_host=docker_host)
        super().__init__(backend, output_limits=output_limits, session_limits=session_limits, sweep_s=sweep_s)


class DockerBackend:
    """See Backend."""

    def __init__(self, instance_id: str, *, limits: SandboxLimits, runtime: str | None = None, docker_host: str | None = None) -> None:
        """`instance_id` is the same for every server of one data directory, of which only one runs: containers of an earlier one are removed at start.

        `runtime` names another OCI runtime that the engine knows, such as "runsc". `docker_host` replaces DOCKER_HOST.
        Raises SandboxUnavailable when the installation has no sandbox folder.
        """
        folder = sandbox_folder()
        self._instance_id = instance_id
        self._image = image_tag(folder)
        self._seccomp_profile = folder / "seccomp.json"
        self._runtime = runtime
        self._options = container_options(image=self._image, instance_id=instance_id, limits=limits, runtime=runtime)
        self._engine = DockerEngine(docker_host)

    async def check(self) -> str | None:
        try:
            await self._engine.ping()
            if not await self._engine.has_image(self._image):
                return "code_interpreter is unavailable: its image is missing. Run `offline-assistants sandbox build`."
            return await self._missing_runtime()
        except SandboxError as error:
            return error.message

    async def description(self) -> str:
        return f"Docker containers (runtime {self._runtime})" if self._runtime else "Docker containers"

    async def start(self) -> DockerProcess:
        container_id = await self._engine.start_container(self._options, seccomp_profile=self._seccomp_profile)
        try:
            return DockerProcess(self._engine, container_id, await self._engine.attach(container_id))
        except BaseException:
            await self._engine.remove(container_id)
            raise

    async def _missing_runtime(self) -> str | None:
        """A sentence when the engine does not know the runtime that the settings name."""
        known = await self._engine.runtimes() if self._runtime else frozenset[str]()
        if self._runtime is None or self._runtime in known:
            return None
        return (
            f"code_interpreter is unavailable: the Docker engine knows no runtime {self._runtime}, only {', '.join(sorted(known)) or 'its own'}. "
            "Install it and make it known to the engine (`runtimes` in /etc/docker/daemon.json), then restart the engine; or leave --sandbox-runtime out."
        )

    async def list_names(self) -> list[str]:
        return await self._engine.list_containers([f"{INSTANCE_LABEL}={self._instance_id}"])

    async def remove(self, name: str) -> None:
        await self._engine.remove(name)

    async def ask_engine(self) -> None:
        """Raises SandboxUnavailable when it does not answer."""
        await self._engine.ping()

    async def close(self) -> None:
        await self._engine.close()


class DockerProcess:
    """See KernelProcess: a container and its attached stream."""

    def __init__(self, engine: DockerEngine, container_id: str, stream: AttachedStream) -> None:
        self._engine = engine
        self._container_id = container_id
        self._stream = stream

    @property
    def name(self) -> str:
        return self._container_id

    @property
    def is_closed(self) -> bool:
        return self._stream.is_closed

    @property
    def stderr_tail(self) -> str:
        return self._stream.stderr_tail

    async def read(self) -> bytes:
        return await self._stream.read()

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    async def remove(self) -> None:
        self._stream.close()
        await self._engine.remove(self._container_id)

    async def ask_engine(self) -> None:
        await self._engine.ping()
