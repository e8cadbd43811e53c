"""The door to Docker: the only file that imports docker-py, whose blocking calls run on a few threads of this file's own.

Every failure of the library or of the engine behind it leaves here as SandboxUnavailable or SandboxError, with what to do.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import docker
import docker.errors
import docker.utils
import requests.exceptions
import urllib3.exceptions

from offline_assistants.errors import SandboxError, SandboxUnavailable

_T = TypeVar("_T")
_Client = Any
"""docker.APIClient: its own annotations are too incomplete to be checked against."""

_BUILD_SILENCE_S = 900
"""A step of a build (installing packages) may say nothing for as long as this."""
_READ_BYTES = 256 * 1024
_NOT_IN_PODMAN = ("mode", "nr_inodes", "uid", "gid")
_PODMAN_PROCESSES = 4096
_BEHIND_TLS_OR_SSH = (
    "code_interpreter is unavailable: it needs a Docker engine on a Unix or plain TCP socket, and this one is behind TLS or SSH. "
    "Let SSH carry the socket (`ssh -L /tmp/docker.sock:/var/run/docker.sock HOST`) and set DOCKER_HOST=unix:///tmp/docker.sock."
)
_STREAM_HEADER = struct.Struct(">BxxxI")
"""Docker puts a header before each piece of an attached stream: 1 stdout or 2 stderr, and the length. Source: Engine API, "Attach to a container"."""


class AttachedStream:
    """stdin, stdout and the tail of stderr of a running container."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._pending = bytearray()
        self._stderr: deque[bytes] = deque(maxlen=16)

    async def read(self) -> bytes:
        """The next bytes of stdout; b"" when the container or the engine is gone."""
        while True:
            try:
                data = await self._reader.read(_READ_BYTES)
            except OSError:
                return b""
            if not data:
                return b""
            self._pending += data
            if stdout := b"".join(self._pieces()):
                return stdout

    async def write(self, data: bytes) -> None:
        """Raises OSError when the container or the engine is gone."""
        self._writer.write(data)
        await self._writer.drain()

    @property
    def is_closed(self) -> bool:
        return self._reader.at_eof() or self._writer.is_closing()

    @property
    def stderr_tail(self) -> str:
        return b"".join(self._stderr).decode(errors="replace")

    def close(self) -> None:
        """Hang up: the kernel's stdin ends, and with it the container."""
        self._writer.transport.abort()

    def _pieces(self) -> Iterator[bytes]:
        start = 0
        while len(self._pending) - start >= _STREAM_HEADER.size:
            kind, length = cast("tuple[int, int]", _STREAM_HEADER.unpack_from(self._pending, start))
            end = start + _STREAM_HEADER.size + length
            if len(self._pending) < end:
                break
            piece = bytes(self._pending[start + _STREAM_HEADER.size : end])
            start = end
            if kind == 2:
                self._stderr.append(piece[-4096:])
            else:
                yield piece
        del self._pending[:start]


class DockerEngine:
    """One Docker engine, found as the `docker` command finds it (DOCKER_HOST, else the local socket). Connects when first asked, reconnects by itself."""

    def __init__(self, docker_host: str | None = None, *, call_timeout_s: int = 20, num_threads: int = 4) -> None:
        """`docker_host` replaces DOCKER_HOST. `call_timeout_s` bounds each answer of the engine, builds and pulls apart."""
        self._docker_host = docker_host
        self._call_timeout_s = call_timeout_s
        self._threads = ThreadPoolExecutor(max_workers=num_threads, thread_name_prefix="docker")
        self._client: _Client | None = None
        self._is_closed = False

    async def close(self) -> None:
        self._is_closed = True
        client, self._client = self._client, None
        if client is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, client.close)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def ping(self) -> None:
        await self._call(lambda client: client.ping())

    async def has_image(self, tag: str) -> bool:
        return bool(await self._call(lambda client: client.images(name=tag)))

    async def runtimes(self) -> frozenset[str]:
        """Names of the OCI runtimes that the engine knows; "runc" is the usual one."""
        told = await self._call(lambda client: client.info())
        return frozenset(cast("Mapping[str, object] | None", told.get("Runtimes")) or ())

    async def start_container(self, options: Mapping[str, Any], *, seccomp_profile: Path) -> str:
        """Create and start; the id. `options`: `image`, `labels`, ..., and `host_config` with docker-py's names. The image's own command runs.

        `seccomp_profile`: a JSON file, which Podman reads by itself.
        """

        def start(client: _Client) -> str:
            host = cast("dict[str, Any]", options["host_config"])
            if _is_podman(client):
                host, profile = _for_podman(host), str(seccomp_profile)
            else:
                profile = seccomp_profile.read_text("utf-8")
            host_config = client.create_host_config(**{**host, "security_opt": [*host["security_opt"], f"seccomp={profile}"]})
            rest = {name: value for name, value in options.items() if name != "host_config"}
            container_id = cast("str", client.create_container(host_config=host_config, **rest)["Id"])
            try:
                client.start(container_id)
            except BaseException:
                client.remove_container(container_id, force=True)  # what never ran is not removed by itself
                raise
            return container_id

        return await self._call(start)

    async def attach(self, container_id: str) -> AttachedStream:
        attached = await self._call(lambda client: _attached_socket(client, container_id))
        reader, writer = await asyncio.open_connection(sock=attached, limit=4 * _READ_BYTES)
        return AttachedStream(reader, writer)

    async def remove(self, container_id: str) -> None:
        """Kill and remove; one that is gone already is no error."""

        def remove(client: _Client) -> None:
            try:
                client.remove_container(container_id, force=True)
            except docker.errors.APIError as error:
                if error.status_code not in (404, 409):  # 409: its removal is under way
                    raise

        await self._call(remove)

    async def list_containers(self, labels: Sequence[str]) -> list[str]:
        """Ids of all containers, running or not, that carry every one of `labels` ("name=value")."""
        found = await self._call(lambda client: client.containers(all=True, filters={"label": list(labels)}))
        return [cast("str", container["Id"]) for container in found]

    async def pull(self, repository: str, tag: str) -> None:
        await self._call(lambda client: client.pull(repository, tag=tag), read_timeout_s=_BUILD_SILENCE_S)

    async def import_image(self, archive: Path, repository: str, tag: str) -> None:
        """An image whose whole content is a tar archive of a root file system."""
        changes = ['CMD ["bash"]']
        await self._call(
            lambda client: client.import_image_from_file(str(archive), repository=repository, tag=tag, changes=changes), read_timeout_s=_BUILD_SILENCE_S
        )

    async def image_tags(self, repository: str) -> list[str]:
        """ "repository:tag" of every image of `repository`, the newest first."""
        images = await self._call(lambda client: client.images(name=repository))
        return [tag for image in images for tag in cast("list[str] | None", image["RepoTags"]) or ()]

    async def remove_image(self, tag: str) -> None:
        """`docker image rm`. Raises SandboxError while a container uses it."""
        await self._call(lambda client: client.remove_image(tag))

    async def save_image(self, tag: str, file: BinaryIO) -> None:
        """`docker save`, piece by piece. Raises SandboxError when `file` takes no more."""

        def save(client: _Client) -> None:
            for piece in client.get_image(tag):
                with _file_errors("The image could not be written"):
                    file.write(piece)

        await self._call(save, read_timeout_s=_BUILD_SILENCE_S)

    async def load_image(self, file: BinaryIO) -> None:
        """`docker load`, piece by piece. Raises SandboxError when the engine does not take it."""

        def load(client: _Client) -> None:
            for step in client.load_image(file):
                if "error" in step:
                    raise SandboxError(f"The container engine refused the image: {step['error'].strip()}")

        await self._call(load, read_timeout_s=_BUILD_SILENCE_S)

    async def build(self, folder: Path, *, tag: str, arguments: Mapping[str, str], report: Callable[[str], None]) -> None:
        """`docker build`; every line of its output goes to `report`, on the event loop. Raises SandboxError when a step fails."""
        loop = asyncio.get_running_loop()
        is_cancelled = threading.Event()

        def build(client: _Client) -> None:
            for step in client.build(path=str(folder), tag=tag, buildargs=dict(arguments), rm=True, forcerm=True, decode=True):
                if is_cancelled.is_set():
                    return  # hanging up ends the build
                if "error" in step:
                    raise SandboxError(f"The sandbox image could not be built: {step['error'].strip()}")
                for line in str(step.get("stream", "")).splitlines():
                    if line.strip():
                        loop.call_soon_threadsafe(report, line.rstrip())

        try:
            await self._call(build, read_timeout_s=_BUILD_SILENCE_S)
        finally:
            is_cancelled.set()

    async def _call(self, work: Callable[[_Client], _T], *, read_timeout_s: int | None = None) -> _T:
        """Raises SandboxUnavailable, SandboxError."""

        def call() -> _T:
            with _translated():
                _knock(self._docker_host, self._call_timeout_s)
                if read_timeout_s is None:
                    self._client = self._client or _connect(self._docker_host, self._call_timeout_s)
                    return work(self._client)
                client = _connect(self._docker_host, read_timeout_s)
                try:
                    return work(client)
                finally:
                    client.close()

        if self._is_closed:
            raise SandboxUnavailable("code_interpreter is unavailable: the server is stopping.")
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _knock(docker_host: str | None, timeout_s: int) -> None:
    """Whether the address is of a kind that we can use, and anybody listens on the local socket.

    docker-py would find out, too, but leaves the socket of a failed attempt open.
    """
    address = cast("str", docker.utils.parse_host(docker_host or os.environ.get("DOCKER_HOST")))
    scheme, _, path = address.partition("://")
    if scheme in ("ssh", "https") or (not docker_host and os.environ.get("DOCKER_TLS_VERIFY")):
        raise SandboxUnavailable(_BEHIND_TLS_OR_SSH)
    if scheme == "http+unix":
        with socket.socket(socket.AF_UNIX) as attempt:
            attempt.settimeout(timeout_s)
            attempt.connect(path)


def _connect(docker_host: str | None, timeout_s: int) -> _Client:
    address: dict[str, Any] = {"base_url": docker_host} if docker_host else {**docker.utils.kwargs_from_env()}
    return docker.APIClient(version="auto", timeout=timeout_s, **address)


def _is_podman(client: _Client) -> bool:
    """Whether it is Podman that answers in Docker's place."""
    components = cast("list[dict[str, Any]]", client.version().get("Components") or [])
    return any("Podman" in str(component.get("Name")) for component in components)


def _for_podman(host_config: dict[str, Any]) -> dict[str, Any]:
    """The options in Podman's words. It opens the seccomp profile as a path of its own machine, where Docker takes the text and no path.

    Its tmpfs takes its owner from `U`, and has no limit on inodes: those are limited by memory alone.
    """
    tmpfs = {
        path: ",".join(["U", *(option for option in options.split(",") if option.partition("=")[0] not in _NOT_IN_PODMAN)])
        for path, options in cast("dict[str, str]", host_config["tmpfs"]).items()
    }
    tmpfs["/var/tmp"] = "ro,mode=0755"  # noqa: S108  which it would else make writable, without a limit
    # Without one of ours it asks the kernel for a million processes, which not every machine grants. `pids_limit` is what holds.
    processes = {"Name": "nproc", "Soft": _PODMAN_PROCESSES, "Hard": _PODMAN_PROCESSES}
    return {**host_config, "tmpfs": tmpfs, "ulimits": [*host_config["ulimits"], processes]}


def _attached_socket(client: _Client, container_id: str) -> socket.socket:
    """A plain socket of our own, so that the event loop reads it and no thread waits."""
    stream = client.attach_socket(container_id, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    original = getattr(stream, "_sock", stream)
    response = getattr(stream, "_response", stream)
    try:
        if type(original) is not socket.socket:
            raise SandboxUnavailable(_BEHIND_TLS_OR_SSH)
        attached = socket.socket(fileno=os.dup(original.fileno()))
    finally:
        response.close()
    attached.setblocking(False)
    return attached


@contextmanager
def _translated() -> Generator[None]:
    """docker-py's errors, and those of the HTTP libraries under it, as ours."""
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise SandboxUnavailable("code_interpreter is unavailable: its image is missing. Run `offline-assistants sandbox build`.") from error
    except docker.errors.APIError as error:
        raise SandboxError(_refusal(str(error.explanation or error))) from error
    except (docker.errors.DockerException, requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise SandboxUnavailable(_reason(error)) from error


@contextmanager
def _file_errors(sentence: str) -> Generator[None]:
    """Errors of a file of ours, which are no errors of the engine's."""
    try:
        yield
    except OSError as error:
        raise SandboxError(f"{sentence}: {error.strerror or error}.") from error


def _refusal(explanation: str) -> str:
    """What the engine says, and what to do where that is known."""
    refused = f"The container engine refused: {explanation}"
    if "unknown runtime" in explanation.lower() or "invalid runtime" in explanation.lower():
        return f"{refused}. Tell it of this runtime (Docker: /etc/docker/daemon.json), or leave --sandbox-runtime out."
    if "opening seccomp profile failed" in explanation:
        return "The container engine refused the seccomp profile. Podman reads it from its own disk: use one of this machine, or Docker."
    return refused


def _reason(error: Exception) -> str:
    text = str(error)
    if "Permission denied" in text or "PermissionError" in text:
        return (
            "code_interpreter is unavailable: this user may not speak to the Docker engine. "
            "Run `sudo usermod -aG docker $USER`, log in again, then run `offline-assistants sandbox check`."
        )
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in text.lower():
        return "code_interpreter is unavailable: the Docker engine does not answer in time. Restart Docker, then run `offline-assistants sandbox check`."
    return SandboxUnavailable().message
