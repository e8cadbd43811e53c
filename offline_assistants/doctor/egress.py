"""Does anything of ours try to leave? A server in a folder of its own loads, answers and embeds, while its connections are watched.

This process is watched by Python's audit hooks, all its children by the sockets that the kernel lists for them. A deliberate attempt is made beside the
rest, to an address that nobody has: if the watch does not see it, its silence means nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from offline_assistants.bootstrap import OpenServer, build_app
from offline_assistants.doctor.finding import Finding, fail, ok, warn
from offline_assistants.engine.aliased_engines import default_of
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.outbound import OutboundAttempts
from offline_assistants.ports import Chat, ChatMessage, SamplingParams
from offline_assistants.settings import Settings

NOBODY = ("203.0.113.1", 9)
"""Of TEST-NET-3. A UDP socket that is connected sends nothing."""
LOOK_EVERY_S = 0.05


async def check_egress(settings: Settings) -> Finding:
    """Takes as long as it takes to load the model that answers."""
    attempts = OutboundAttempts().watch()
    try:
        with tempfile.TemporaryDirectory(prefix="offline-assistants-") as folder:
            private = settings.model_copy(update={"data_dir": Path(folder), "models_dir": settings.models_path})
            async with _watched_children() as remote:
                done = await _live(private)
        ours = {each.address for each in attempts.newest()} | remote
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deliberate, contextlib.suppress(OSError):  # without a route it fails, after it was seen
            deliberate.connect(NOBODY)
        is_blind = not any(each.address.startswith(NOBODY[0]) for each in attempts.newest())
    finally:
        attempts.stop()
    if ours:
        return fail("egress", f"something tried to reach {', '.join(sorted(ours))}", "unshare -rn offline-assistants serve   # and report it as a bug")
    if is_blind:
        return warn("egress", "the watch did not see a deliberate attempt, so nothing is known", "strace -f -e trace=network offline-assistants serve")
    return ok("egress", f"a server that {done} tried to reach nobody; a deliberate attempt beside it was seen")


async def _live(settings: Settings) -> str:
    """Start, answer, embed, end. What of it was done."""
    done = ["started"]
    async with build_app(settings) as opened:
        for what, work in (("answered", _answer), ("embedded", _embed)):
            with contextlib.suppress(OfflineAssistantsError):  # a model that is missing is another check's finding
                if await work(opened):
                    done.append(what)
    return f"{', '.join([*done, ''])}and ended"


async def _answer(opened: OpenServer) -> bool:
    engines = opened.parts.engines
    model = default_of(await engines.list_models())
    if model is None:
        return False
    async with contextlib.aclosing(engines.generate(model.model_id, Chat((ChatMessage("user", "Hello"),)), SamplingParams(max_tokens=4))) as deltas:
        async for _ in deltas:
            pass
    return True


async def _embed(opened: OpenServer) -> bool:
    return bool(await opened.parts.documents.embed(["Hello"]))


# ── The children ─────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def _watched_children() -> AsyncGenerator[set[str]]:
    """The addresses of other machines that a descendant has a socket to, at any look."""
    seen = set[str]()

    async def look() -> None:
        while True:
            seen.update(remote_addresses(_descendants(os.getpid())))
            await asyncio.sleep(LOOK_EVERY_S)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()


def remote_addresses(process_ids: list[int], proc: Path = Path("/proc")) -> set[str]:
    """Where the sockets of these processes lead to, other than this machine."""
    inodes = {inode for process_id in process_ids for inode in _sockets(proc / str(process_id) / "fd")}
    if not inodes:
        return set()
    tables = [(proc / "net" / name, size) for name, size in (("tcp", 8), ("udp", 8), ("tcp6", 32), ("udp6", 32))]
    return {address for path, size in tables for address, inode in _connections(path, size) if inode in inodes}


def _connections(path: Path, size: int) -> Iterator[tuple[str, str]]:
    """Each remote address in a table of the kernel, with its socket's inode. Words of four bytes are written in the machine's own order."""
    with contextlib.suppress(OSError):  # a kernel without IPv6 has no such table
        for line in path.read_text().splitlines()[1:]:
            parts = line.split()
            host = parts[2].partition(":")[0]
            packed = b"".join(bytes.fromhex(host[start : start + 8])[::-1] for start in range(0, size, 8))
            address = socket.inet_ntop(socket.AF_INET if size == 8 else socket.AF_INET6, packed)
            if not address.removeprefix("::ffff:").startswith("127.") and address not in ("0.0.0.0", "::", "::1"):  # noqa: S104 nothing is bound
                yield address, parts[9]


def _sockets(folder: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):  # the process has ended
        for each in folder.iterdir():
            with contextlib.suppress(OSError):  # it was closed
                target = str(each.readlink())
                if target.startswith("socket:["):
                    yield target[8:-1]


def _descendants(process_id: int, proc: Path = Path("/proc")) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # the process has ended
        for thread in (proc / str(process_id) / "task").iterdir():
            with contextlib.suppress(OSError):  # the thread has
                children = [int(each) for each in (thread / "children").read_text().split()]
                found += [each for child in children for each in (child, *_descendants(child, proc))]
    return found
