"""`offline-assistants export` and `import`: what went out of one data directory comes back in another, and exports of the hosted API come in."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import openai
import pytest

from tests.acceptance.server_process import ServerProcess
from tests.acceptance.test_keys import command

pytestmark = pytest.mark.timeout(180)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def fill(server: ServerProcess, folder: Path) -> None:
    """Some of everything that needs no model; so the assistant is imported."""
    with server.client() as client:
        file = client.files.create(file=("naïve.txt", "Die Füße des Lamas 🦙".encode()), purpose="assistants")
        thread = client.beta.threads.create(metadata={"user": "u1"})
        for number in range(5):
            client.beta.threads.messages.create(thread.id, role="user", content=f"Nr. {number} ü")
    resources = {"code_interpreter": {"file_ids": [file.id]}}
    helper = {"id": "asst_a", "object": "assistant", "created_at": 1, "model": "any", "tools": [{"type": "code_interpreter"}], "tool_resources": resources}
    (folder / "assistant.json").write_text(json.dumps(helper))
    assert command(server.data_dir, "import", str(folder / "assistant.json")).returncode == 0


@pytest.fixture
def exported(own_server: ServerProcess, tmp_path: Path) -> Path:
    fill(own_server, tmp_path)
    done = command(own_server.data_dir, "export", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    return tmp_path / "out" / "objects.jsonl"


def test_an_export_comes_back_as_it_was(exported: Path, tmp_path: Path) -> None:
    done = command(tmp_path / "other", "import", str(exported))
    again = command(tmp_path / "other", "import", str(exported.parent))
    back = command(tmp_path / "other", "export", str(tmp_path / "back.jsonl"))

    assert (done.returncode, done.stdout.strip()) == (0, "8 imported, 0 already there, 0 refused"), done.stderr
    assert again.stdout.strip() == "0 imported, 8 already there, 0 refused"
    assert back.returncode == 0, back.stderr
    assert lines_of(tmp_path / "back.jsonl") == lines_of(exported)
    [content] = (tmp_path / "back.files").iterdir()
    assert content.read_bytes() == "Die Füße des Lamas 🦙".encode()


def test_one_project_goes_out_and_comes_in_as_another(own_server: ServerProcess, tmp_path: Path) -> None:
    key = command(own_server.data_dir, "keys", "create", "--project", "blue").stdout.strip()
    with openai.OpenAI(base_url=own_server.url, api_key=key) as blue:
        thread = blue.beta.threads.create(messages=[{"role": "user", "content": "Hello"}])
    fill(own_server, tmp_path)

    command(own_server.data_dir, "export", "--project", "blue", str(tmp_path / "blue.jsonl"))
    taken = command(own_server.data_dir, "import", "--project", "green", str(tmp_path / "blue.jsonl"))
    command(tmp_path / "other", "import", "--project", "green", str(tmp_path / "blue.jsonl"))
    command(tmp_path / "other", "export", str(tmp_path / "green.jsonl"))

    assert taken.returncode == 1
    assert f"line 1: {thread.id}: the id {thread.id} is taken by an object of another project" in taken.stderr
    assert {each["project"] for each in lines_of(tmp_path / "green.jsonl")} == {"green"}
    assert [each["object"] for each in lines_of(tmp_path / "green.jsonl")] == ["thread", "thread.message"]


def test_an_export_to_parquet_is_a_table(own_server: ServerProcess, tmp_path: Path) -> None:
    fill(own_server, tmp_path)

    done = command(own_server.data_dir, "export", "--format", "parquet", str(tmp_path / "out"))

    with duckdb.connect() as reader:
        rows = reader.execute(
            "SELECT object, count(*) FROM read_parquet(?) GROUP BY object ORDER BY object", [str(tmp_path / "out/objects.parquet")]
        ).fetchall()
    assert done.returncode == 0, done.stderr
    assert rows == [("assistant", 1), ("file", 1), ("thread", 1), ("thread.message", 5)]


def test_an_export_to_parquet_leaves_an_earlier_one_to_jsonl_as_it_is(own_server: ServerProcess, exported: Path) -> None:
    before = exported.read_bytes()

    with own_server.client() as client:
        client.beta.threads.create()
    done = command(own_server.data_dir, "export", "--format", "parquet", str(exported.parent))

    assert done.returncode == 0, done.stderr
    assert exported.read_bytes() == before
    assert sorted(path.name for path in exported.parent.iterdir()) == ["objects.files", "objects.jsonl", "objects.parquet"]


def test_an_export_of_the_hosted_api_comes_in(own_server: ServerProcess, tmp_path: Path) -> None:
    messages = [
        {"id": f"msg_{number}", "object": "thread.message", "created_at": 100, "thread_id": "thread_a", "role": "user", "file_ids": [],
         "content": [{"type": "text", "text": {"value": f"Nr. {number}", "annotations": []}}], "metadata": None}
        for number in (3, 2, 1)
    ]  # fmt: skip
    (tmp_path / "old.json").write_text(json.dumps({"object": "list", "data": messages, "has_more": False}, indent=2))
    (tmp_path / "threads.jsonl").write_text(json.dumps({"id": "thread_a", "object": "thread", "created_at": 99, "metadata": {}, "tool_resources": None}))

    taken = [command(own_server.data_dir, "import", str(tmp_path / name)) for name in ("threads.jsonl", "old.json")]

    with own_server.client() as client:
        listed = client.beta.threads.messages.list("thread_a", order="asc").data
    assert [each.returncode for each in taken] == [0, 0], taken
    assert [each.id for each in listed] == ["msg_1", "msg_2", "msg_3"]


def test_each_refusal_names_its_line_and_why(tmp_path: Path) -> None:
    lines = [
        {"id": "thread_a", "object": "thread", "created_at": 1},
        "{ this is no JSON",
        {"id": "msg_x", "object": "thread.message", "created_at": 1, "thread_id": "thread_gone", "role": "user"},
        {"id": "file-x", "object": "file", "created_at": 1, "bytes": 1, "filename": "x.txt", "purpose": "assistants"},
        {"id": "asst_x", "object": "assistant", "created_at": "yesterday", "model": "m"},
        {"id": "run_x", "object": "thread.run", "created_at": 1, "thread_id": "thread_a", "assistant_id": "a", "expires_at": None, "model": "m"},
        {"id": "resp_x", "object": "response", "created_at": 1},
        [1, 2],
    ]
    (tmp_path / "mixed.jsonl").write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))

    done = command(tmp_path / "data", "import", str(tmp_path / "mixed.jsonl"))

    said = {line.partition(": ")[0]: line.partition(": ")[2] for line in done.stderr.splitlines()}
    assert done.returncode == 1
    assert done.stdout.strip().startswith("1 imported, 0 already there, 6 refused")
    assert said["line 2"] == "this is no JSON"
    assert said["line 3"] == "msg_x: No thread found with id 'thread_gone'."
    assert said["line 4"] == "file-x: its content is not beside the export"
    assert said["line 5"].startswith("asst_x: created_at: ")
    assert said["line 6"] == "run_x: a run that is queued cannot be taken up by another server"
    assert said["line 7"].startswith("resp_x: objects of the kind 'response' are not imported")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = command(tmp_path / "data", "import", str(tmp_path / "nowhere.jsonl"))

    assert done.returncode == 1
    assert "nowhere.jsonl cannot be read" in done.stderr.replace("\n", " ")


def test_a_server_that_ends_meanwhile_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "admin.sock"))
        listener.listen()
        ending = Thread(target=lambda: listener.accept()[0].close(), daemon=True)
        ending.start()
        done = command(tmp_path, "export", str(tmp_path / "out"))
        ending.join(timeout=5)

    assert done.returncode == 1
    assert done.stderr.startswith("error: The server of")
    assert "then repeat the command" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
