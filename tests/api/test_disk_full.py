"""A small disk that fills up: writes are refused before the database fails, reads go on, and writes too once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.api.conftest import LiveServer

MIB = 2**20
DISK_BYTES, KEPT_FREE_BYTES = 96 * MIB, 32 * MIB
FULL = {
    "message": "The disk is almost full, so nothing new is accepted. Free some space in the data directory's file system.",
    "type": "server_error",
    "param": None,
    "code": None,
}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", disk], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path, *, but_bytes: int) -> Path:
    """A file that leaves so many bytes."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - but_bytes)
    return filler


@pytest.mark.timeout(90)
def test_a_full_disk_refuses_writes_answers_reads_and_takes_writes_again(small_disk: Path) -> None:
    live = LiveServer(small_disk / "data", settings={"min_free_disk_bytes": KEPT_FREE_BYTES}).start()
    with openai.OpenAI(base_url=live.url, api_key="none", max_retries=0, timeout=15) as client:
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "Before."}])
        gone = client.beta.threads.create(messages=[{"role": "user", "content": "To go."}])
        file = client.files.create(file=("a.txt", b"Before."), purpose="assistants")
        messages = f"{live.url}/threads/{thread.id}/messages"
        filler = fill(small_disk, but_bytes=KEPT_FREE_BYTES - MIB)

        for _ in range(20):
            refused = httpx.post(messages, json={"role": "user", "content": "x" * 100_000})
            assert (refused.status_code, refused.json()) == (507, {"error": FULL})
        upload = httpx.post(f"{live.url}/files", data={"purpose": "assistants"}, files={"file": ("b.txt", b"b")})
        assert (upload.status_code, upload.json()) == (507, {"error": FULL})
        assert [message.content[0].text.value for message in client.beta.threads.messages.list(thread.id)] == ["Before."]
        assert client.files.content(file.id).read() == b"Before."
        assert client.beta.threads.delete(gone.id).deleted  # what makes room is not refused

        filler.unlink()
        assert httpx.post(messages, json={"role": "user", "content": "After."}).status_code == 200
    live.stop()
    live.start()
    after = httpx.get(f"{live.url}/threads/{thread.id}/messages").json()["data"]
    live.stop()
    assert [message["content"][0]["text"]["value"] for message in after] == ["After.", "Before."]
