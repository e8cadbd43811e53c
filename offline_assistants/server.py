"""The server process: sockets, signals, an orderly end. Knows nothing of what is served."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import os
import signal
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn

from offline_assistants.bootstrap import OpenServer, build_app
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.outbound import OutboundAttempts
from offline_assistants.settings import Settings

MAX_SOCKET_PATH = 107
"""Bytes in the address of a Unix socket (sun_path, without its zero)."""
_NEAREST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 addresses to compare with
"""Where a server that listens everywhere is found from its own machine."""
GRACE_S = 5
"""How long requests that are under way may take to end."""


async def serve_until_stopped(settings: Settings) -> None:
    """Serve on the address of `settings` and on the socket in the data directory, until SIGINT or SIGTERM. Raises OfflineAssistantsError."""
    with listen(settings.host, settings.port) as listener:
        address: tuple[str, int] = listener.getsockname()[:2]
        host, port = address
        if not ipaddress.ip_address(host).is_loopback:
            settings = settings.model_copy(update={"require_keys": True})
        _check_path(settings.admin_socket)
        async with build_app(settings, outbound=OutboundAttempts().watch(), address=_url(_NEAREST.get(host, host), port)) as opened:
            with _listen_locally(settings.admin_socket) as local:
                await serve(opened, [listener, local], log_level=settings.log_level, announcement=f"offline-assistants serves on {_url(host, port)}v1")
    settings.admin_socket.unlink(missing_ok=True)


@asynccontextmanager
async def served_for_a_command(settings: Settings, *, is_working: bool = False) -> AsyncGenerator[None]:
    """Serve on the socket in the data directory only. Raises OfflineAssistantsError.

    Unless it `is_working`, runs and files in progress are left for a server to go on with.
    """
    _check_path(settings.admin_socket)
    async with build_app(settings, is_serving=is_working) as opened:
        with _listen_locally(settings.admin_socket) as local:
            server = _Server(_config(opened, settings.log_level))
            serving = asyncio.create_task(server.serve(sockets=[local]))
            try:
                yield
            finally:
                server.should_exit = True
                await serving
    settings.admin_socket.unlink(missing_ok=True)


class _Server(uvicorn.Server):
    """uvicorn ends the process by the signal that stopped it, before our own parts are closed: so signals are ours."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _config(opened: OpenServer, log_level: str) -> uvicorn.Config:
    return uvicorn.Config(
        opened.app,
        lifespan="off",
        log_config=None,
        log_level=log_level,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )


async def serve(opened: OpenServer, sockets: list[socket.socket], *, log_level: str = "info", announcement: str | None = None) -> None:
    """Answer on listening sockets until SIGINT or SIGTERM. Who reads the announcement may send one."""
    # All that was loaded stays: looking through it again and again would stall every stream for a tenth of a second.
    gc.collect()
    gc.freeze()
    server = _Server(_config(opened, log_level))
    stopping = asyncio.create_task(_stop_on_signal(server, opened))
    try:
        await asyncio.sleep(0)  # from here on signals are handled
        if announcement is not None:
            print(announcement, flush=True)  # noqa: T201 the one line that a person waits for
        await server.serve(sockets=sockets)
    finally:
        stopping.cancel()
        gc.unfreeze()


async def _stop_on_signal(server: uvicorn.Server, opened: OpenServer) -> None:
    """Open streams would keep the server waiting: runs end first, and their streams with them. A second signal does not wait for anybody."""
    is_stopping = asyncio.Event()

    def stop() -> None:
        server.force_exit = is_stopping.is_set()
        is_stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await is_stopping.wait()
    server.should_exit = True
    await opened.end_runs()


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def listen(host: str, port: int) -> socket.socket:
    """A socket to serve on; port 0 takes a free one. Raises OfflineAssistantsError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise OfflineAssistantsError(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port with --port, or 0 for a free one.") from error
    # Connections inherit it. asyncio does not set it on those of a socket that it did not make, and without it the second part of an answer waits 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _check_path(path: Path) -> None:
    """Before anything else is begun, so that a person reads one sentence."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise OfflineAssistantsError(f"The path of the data directory is too long for a socket in it: {path.parent}. Choose another with --data-dir.")


def _listen_locally(path: Path) -> socket.socket:
    """The database is ours by now, so a socket that is there already was left behind by a server that was killed."""
    path.unlink(missing_ok=True)
    local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    local.bind(str(path))
    path.chmod(0o600)
    local.listen(64)
    return local
