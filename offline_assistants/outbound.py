"""Every attempt of this process to reach another machine, as Python's audit hooks see it: connections, datagrams, look-ups of names.

What is seen is Python code of this process. Its children (engine, embedder, parsers) and libraries that call the kernel by themselves are not; a test that
watches the system calls of all of them runs beside the others. What is seen is remembered, not prevented.
"""

from __future__ import annotations

import ipaddress
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

MAX_KEPT = 200
Kind = Literal["connect", "send", "lookup"]
_KINDS: dict[str, Kind] = {"socket.connect": "connect", "socket.sendto": "send", "socket.sendmsg": "send"}


@dataclass(frozen=True, slots=True)
class Attempt:
    at: int
    """Unix seconds."""
    kind: Kind
    address: str
    """HOST:PORT, or the name that was looked up."""


class OutboundAttempts:
    """The newest attempts, and how many there were. An audit hook stays for as long as its process lives: make one of these for a process."""

    def __init__(self) -> None:
        self.since: int | None = None
        """Unix seconds since when it watches; None: it does not."""
        self.num_attempts = 0
        self._kept: deque[Attempt] = deque(maxlen=MAX_KEPT)
        self._lock = threading.Lock()

    def watch(self) -> OutboundAttempts:
        """From now on until `stop`."""
        self.since = int(time.time())
        sys.addaudithook(self._see)
        return self

    def stop(self) -> None:
        """The hook stays, and looks at nothing any more."""
        self.since = None

    def newest(self) -> list[Attempt]:
        """The newest first."""
        with self._lock:
            return list(reversed(self._kept))

    def _see(self, event: str, args: tuple[Any, ...]) -> None:
        if not event.startswith("socket.") or self.since is None:
            return
        if event == "socket.getaddrinfo":
            if args and not _is_here(args[0]):
                self._keep("lookup", _shown(args[:2]))
        elif (kind := _KINDS.get(event)) and len(args) > 1 and isinstance(args[1], tuple):
            address = cast("tuple[Any, ...]", args[1])
            if not _is_here(address[0]):
                self._keep(kind, _shown(address))

    def _keep(self, kind: Kind, address: str) -> None:
        with self._lock:
            self.num_attempts += 1
            self._kept.append(Attempt(int(time.time()), kind, address))


def _shown(address: Sequence[Any]) -> str:
    host, port = (str(_text(part)) for part in (*address, "")[:2])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}".rstrip(":")


def _text(part: Any) -> Any:
    return part.decode("utf-8", errors="replace") if isinstance(part, bytes) else part


def _is_here(host: Any) -> bool:
    """Whether a host is this machine: what every interface is bound to, loopback, and its names."""
    name = str(_text(host) or "").lower()
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified
