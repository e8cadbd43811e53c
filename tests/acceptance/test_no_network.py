"""No attempt to reach another machine: server and demo run where there is no route, and every address that any of their processes names is looked at.

This file is also the program that runs there. A deliberate attempt in the same job must be seen, or the silence of the rest would mean nothing.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = ("203.0.113.1", 9)
"""Of TEST-NET-3: nobody has it."""

_ADDRESS = re.compile(r"sa_family=(AF_\w+)(?:[^}]*?(?:inet_addr\(|inet_pton\(AF_INET6, )\"([^\"]+)\")?")
_LOCAL_FAMILIES = {"AF_UNIX", "AF_LOCAL", "AF_NETLINK", "AF_UNSPEC"}


def remote_addresses(trace: str) -> list[str]:
    """Every address in strace's log that is not of this machine, in order. A family that is not known is one, too."""
    return [address or family for family, address in _ADDRESS.findall(trace) if family not in _LOCAL_FAMILIES and not is_loopback(address)]


def is_loopback(address: str) -> bool:
    if not address:
        return False
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


@pytest.mark.parametrize(
    ("line", "addresses"),
    [
        ('7 connect(5, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = 0', []),
        ('7 connect(5, {sa_family=AF_UNIX, sun_path="/var/run/docker.sock"}, 23) = 0', []),
        ('7 sendto(5, [{nlmsg_len=20}], 20, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 20', []),
        ('7 connect(5, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.53")}, 16 <unfinished ...>', ["10.0.0.53"]),
        ('7 sendto(5, "x", 1, 0, {sa_family=AF_INET6, sin6_port=htons(9), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)}, 28) = 1', ["2001:db8::1"]),
        ('7 connect(5, {sa_family=AF_INET6, sin6_port=htons(9), inet_pton(AF_INET6, "::ffff:127.0.0.1", &sin6_addr), 0}, 28) = 0', []),
        ('7 connect(5, {sa_family=AF_VSOCK, svm_cid=2}, 16) = -1', ["AF_VSOCK"]),
    ],
)  # fmt: skip
def test_the_log_is_read_right(line: str, addresses: list[str]) -> None:
    assert remote_addresses(line) == addresses


@pytest.fixture
def namespace() -> list[str]:
    """The command that runs another one without a network."""
    if missing := [tool for tool in ("strace", "unshare") if shutil.which(tool) is None]:
        end = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        end(f"missing: {', '.join(missing)}; the packages strace and util-linux hold them")
    return ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]


@pytest.mark.model
@pytest.mark.docker
@pytest.mark.timeout(400)
def test_the_demo_reaches_out_to_nobody(namespace: list[str], tmp_path: Path) -> None:
    log = tmp_path / "strace.log"
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-e", "signal=none", "-o", str(log)]

    done = subprocess.run(
        [*namespace, *strace, sys.executable, "-m", "tests.acceptance.test_no_network", str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "served, shown, stopped" in done.stdout
    trace = log.read_text(errors="replace")
    assert "docker.sock" in trace, "the server's children and threads are followed"
    assert remote_addresses(trace) == [FORBIDDEN[0]]


# ── The program in the namespace ─────────────────────────────────────────────────────────────────────────────────────


def raise_loopback() -> None:
    """`ip link set lo up`, for machines without `ip`."""
    set_flags, is_up_and_running = 0x8914, 0x41
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sH14x", b"lo", is_up_and_running))


def show_demo(folder: Path) -> None:
    from tests.acceptance.server_process import ServerProcess  # the tests above need none

    server = ServerProcess(folder)
    try:
        server.start()
        demo = subprocess.run([sys.executable, ROOT / "scripts" / "demo.py", "--base-url", server.url, "--out", folder / "out"], check=False)
        assert demo.returncode == 0, server.log
        server.stop()
    finally:
        server.end()


def try_to_reach_out() -> None:
    with socket.socket() as attempt:
        assert attempt.connect_ex(FORBIDDEN) != 0


if __name__ == "__main__":
    raise_loopback()
    show_demo(Path(sys.argv[1]))
    try_to_reach_out()
    print("served, shown, stopped")
