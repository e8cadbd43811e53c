"""The Sandbox port on Docker: one closed-off container per thread, opened when its code first runs."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from types import TracebackType

from offline_assistants.code_interpreter.container import INSTANCE_LABEL, ContainerLimits, container_options
from offline_assistants.code_interpreter.docker_engine import DockerEngine
from offline_assistants.code_interpreter.image import image_tag, sandbox_folder
from offline_assistants.code_interpreter.kernel_protocol import OutputLimits
from offline_assistants.code_interpreter.kernel_session import KernelSession, open_session
from offline_assistants.code_interpreter.sessions import SessionLimits, Sessions
from offline_assistants.errors import SandboxError
from offline_assistants.ports import ExecutionEnded, ExecutionEvent, Logs, SandboxFile

_log = logging.getLogger(__name__)

_FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_ALL_GONE = "Its variables, and the files it made, are gone."


class DockerSandbox:
    """An async context manager. Entering needs no engine: a missing one is found, and named, when code shall run."""

    def __init__(
        self,
        instance_id: str,
        *,
        container_limits: ContainerLimits | None = None,
        output_limits: OutputLimits | None = None,
        session_limits: SessionLimits | None = None,
        runtime: str | None = None,
        docker_host: str | None = None,
    ) -> None:
        """`instance_id` is the same for every server of one data directory, of which only one runs: containers of an earlier one are removed at start.

        `runtime` names another OCI runtime that the engine knows, such as "runsc". `docker_host` replaces DOCKER_HOST. Raises SandboxUnavailable when the
        installation has no sandbox folder.
        """
        folder = sandbox_folder()
        self._instance_id = instance_id
        self._image = image_tag(folder)
        self._options = container_options(
            image=self._image,
            instance_id=instance_id,
            seccomp_profile=(folder / "seccomp.json").read_text(),
            limits=container_limits or ContainerLimits(),
            runtime=runtime,
        )
        self._output_limits = output_limits or OutputLimits()
        self._engine = DockerEngine(docker_host)
        self._sessions = Sessions(self._open_session, session_limits or SessionLimits(), open_spare=self._open_spare)
        self._sweep: asyncio.Task[None] | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> DockerSandbox:
        self._stack.push_async_callback(self._engine.close)
        await self._stack.enter_async_context(self._sessions)
        self._sweep = asyncio.create_task(self._remove_orphans())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        await self._stack.aclose()

    async def execute(
        self, thread_id: str, code: str, files: Sequence[SandboxFile], timeout_s: float, *, has_run_before: bool = False
    ) -> AsyncGenerator[ExecutionEvent]:
        """See ports.Sandbox. Calls of one thread run one after the other, those of different threads side by side."""
        if any(_FILE_ID.fullmatch(file.file_id) is None for file in files):
            raise SandboxError("A file id has characters that no file id has.")
        if num_before := self._sessions.num_before(thread_id):
            yield Logs(f"[All Python sessions are busy; this call waits for one. It is number {num_before} in the queue.]\n")
        is_new = self._sessions.files_of(thread_id) is None
        async with self._sessions.borrow(thread_id) as (session, why_lost):
            if why_lost is None and has_run_before and is_new:
                why_lost = "the server was started anew"
            try:
                if why_lost is not None:
                    kept = "Its variables are gone; files it made are back in /mnt/data." if any(file.path for file in files) else _ALL_GONE
                    yield Logs(f"[A new Python session: the last one was ended, because {why_lost}. {kept}]\n")
                for problem in await session.put_files(files):
                    yield Logs(f"[{problem}]\n")
                async with aclosing(session.run(code, timeout_s)) as events:
                    async for event in events:
                        yield replace(event, is_state_lost=True) if isinstance(event, ExecutionEnded) and why_lost is not None else event
            finally:
                await session.settle()

    async def files_of(self, thread_id: str) -> frozenset[str] | None:
        return self._sessions.files_of(thread_id)

    async def warm(self) -> None:
        self._sessions.warm()

    async def close(self, thread_id: str) -> None:
        await self._sessions.end(thread_id)

    async def check(self) -> str | None:
        try:
            await self._engine.ping()
            if await self._engine.has_image(self._image):
                return None
        except SandboxError as error:
            return error.message
        return "code_interpreter is unavailable: its image is missing. Run `offline-assistants sandbox build`."

    async def _open_session(self) -> KernelSession:
        return await self._open(preload=False)

    async def _open_spare(self) -> KernelSession:
        return await self._open(preload=True)

    async def _open(self, *, preload: bool) -> KernelSession:
        if self._sweep is not None:
            await asyncio.wait([self._sweep])  # or it would take our own first container for an earlier server's
        return await open_session(self._engine, self._options, self._output_limits, preload=preload)

    async def _remove_orphans(self) -> None:
        """Containers that an earlier server of this data directory could not take along: a kernel ends with its server, unless the engine was cut off."""
        try:
            for container_id in await self._engine.list_containers([f"{INSTANCE_LABEL}={self._instance_id}"]):
                _log.info("removing container %s of an earlier server", container_id[:12])
                await self._engine.remove(container_id)
        except SandboxError as error:
            _log.info("no look for earlier containers: %s", error.message)
