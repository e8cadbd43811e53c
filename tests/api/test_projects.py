"""Two projects on one server: for each the other's objects do not exist, whatever route asks for them and however they are named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import pytest
from fastapi.routing import APIRoute

from offline_assistants.api.app import ROUTERS
from offline_assistants.ports import ExecutionEnded, FileMade
from tests.api.conftest import LiveServer


@dataclass
class Project:
    """A project, and one object of each kind in it."""

    client: openai.OpenAI
    ids: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.client.api_key}"}
        return httpx.request(method, f"{str(self.client.base_url).rstrip('/')}{path}", headers=headers, timeout=15, **options)


def fill(project: Project) -> Project:
    """Ids by the names that routes have for them."""
    api = project.client
    file = api.files.create(file=("a.txt", b"The llama sleeps."), purpose="assistants")
    store = api.vector_stores.create(name="docs")
    batch = api.vector_stores.file_batches.create_and_poll(store.id, file_ids=[file.id], poll_interval_ms=20)
    assistant = api.beta.assistants.create(model="scripted", tools=[{"type": "file_search"}], instructions="Be brief.")
    thread = api.beta.threads.create(messages=[{"role": "user", "content": "Hello?"}])
    run = api.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
    [message] = api.beta.threads.messages.list(thread.id, run_id=run.id).data
    [step] = api.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    upload = api.uploads.create(bytes=1, filename="b.txt", mime_type="text/plain", purpose="assistants")
    completion = api.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "Hi"}], store=True, metadata={"a": "b"})
    ids = {
        "upload_id": upload,
        "completion_id": completion,
        "assistant_id": assistant,
        "thread_id": thread,
        "run_id": run,
        "message_id": message,
        "step_id": step,
        "file_id": file,
    }
    project.ids = {name: obj.id for name, obj in ids.items()} | {"vector_store_id": store.id, "batch_id": batch.id}
    return project


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("projects") / "data").start()
    yield live
    live.engine.release()
    live.stop()


@pytest.fixture(scope="module")
def projects(server: LiveServer) -> Iterator[tuple[Project, Project]]:
    for _ in range(4):
        server.engine.will_say("Hello.")
    with (
        openai.OpenAI(base_url=server.url, api_key=server.make_key("ours"), max_retries=0, timeout=15) as ours,
        openai.OpenAI(base_url=server.url, api_key=server.make_key("theirs"), max_retries=0, timeout=15) as theirs,
    ):
        yield fill(Project(ours)), fill(Project(theirs))


# ── Every route ──────────────────────────────────────────────────────────────────────────────────────────────────────

BODIES: dict[str, dict[str, Any]] = {
    "POST /threads/{thread_id}/messages": {"role": "user", "content": "x"},
    "POST /threads/{thread_id}/runs": {"assistant_id": "{assistant_id}"},
    "POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs": {"tool_outputs": []},
    "POST /vector_stores/{vector_store_id}/search": {"query": "x"},
    "POST /vector_stores/{vector_store_id}/files": {"file_id": "{file_id}"},
    "POST /vector_stores/{vector_store_id}/files/{file_id}": {"attributes": {}},
    "POST /vector_stores/{vector_store_id}/file_batches": {"file_ids": ["{file_id}"]},
    "POST /uploads/{upload_id}/complete": {"part_ids": []},
}
"""What a route needs so that it comes to look at its ids; the rest takes `{"metadata": {}}`."""
NOT_OWNED = {"model", "name"}
"""Path parameters that name what all projects have in common: models, and files of the page."""


def routes() -> list[str]:
    """Every route with an id in it."""
    found = [
        f"{method} {route.path.removeprefix('/v1')}" for router in ROUTERS for route in router.routes if isinstance(route, APIRoute) for method in route.methods
    ]
    return sorted(route for route in found if set(re.findall(r"{(\w+)", route)) - NOT_OWNED and "/admin/" not in route)


def filled(value: Any, ids: dict[str, str]) -> Any:
    """`value` with ids in the place of their names."""
    if isinstance(value, str):
        return value.format_map(ids)
    if isinstance(value, dict):
        return {key: filled(each, ids) for key, each in value.items()}
    return [filled(each, ids) for each in value] if isinstance(value, list) else value


def send(project: Project, route: str, ids: dict[str, str], own: dict[str, str]) -> httpx.Response:
    """`ids` in the path, `own` in the body."""
    method, _, path = route.partition(" ")
    if path.endswith("/parts"):
        return project.ask(method, path.format_map(ids), files={"data": b"x"})
    return project.ask(method, path.format_map(ids), json=filled(BODIES.get(route, {"metadata": {}}), own) if method == "POST" else None)


@pytest.mark.parametrize("route", routes())
def test_a_route_does_not_find_what_belongs_to_another_project(projects: tuple[Project, Project], route: str) -> None:
    ours, theirs = projects
    nobody = {name: re.sub("[A-Za-z0-9]+$", "nobody", value) for name, value in theirs.ids.items()}

    refused = send(ours, route, theirs.ids, ours.ids)
    unknown = send(ours, route, nobody, ours.ids)

    assert refused.status_code == 404, refused.text
    assert anonymous(refused.text, theirs.ids) == anonymous(unknown.text, nobody)


@pytest.mark.parametrize("route", [route for route in routes() if route.count("{") > 1])
def test_a_child_of_another_project_is_not_found_under_our_own_root(projects: tuple[Project, Project], route: str) -> None:
    ours, theirs = projects
    first, *rest = re.findall(r"{(\w+)", route)
    mixed = {name: theirs.ids[name] for name in rest} | {first: ours.ids[first]}

    assert send(ours, route, mixed, ours.ids).status_code == 404


@pytest.mark.parametrize("route", [route for route in routes() if route.startswith("GET")])
def test_the_same_route_finds_our_own(projects: tuple[Project, Project], route: str) -> None:
    assert send(projects[0], route, projects[0].ids, projects[0].ids).status_code == 200


def anonymous(text: str, ids: dict[str, str]) -> str:
    for name, value in ids.items():
        text = text.replace(value, name)
    return text


# ── Lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


LISTS = [
    ("/assistants", "assistant_id"),
    ("/files", "file_id"),
    ("/vector_stores", "vector_store_id"),
    ("/threads", "thread_id"),
    ("/chat/completions", "completion_id"),
]


@pytest.mark.parametrize(("path", "name"), LISTS)
def test_a_list_holds_our_own_and_nothing_else(projects: tuple[Project, Project], path: str, name: str) -> None:
    listed = [{each["id"] for each in project.ask("GET", path).json()["data"]} for project in projects]

    assert [project.ids[name] in ids for project, ids in zip(projects, listed, strict=True)] == [True, True]
    assert listed[0] & listed[1] == set()


@pytest.mark.parametrize(("path", "name"), LISTS)
def test_a_cursor_of_another_project_is_unknown(projects: tuple[Project, Project], path: str, name: str) -> None:
    answers = [projects[0].ask("GET", path, params={"after": each}) for each in (projects[1].ids[name], "nobody")]

    assert [answer.status_code for answer in answers] == [404, 404]


# ── References ───────────────────────────────────────────────────────────────────────────────────────────────────────

SEARCHED = {"file_id": "{file_id}", "tools": [{"type": "file_search"}]}
CODE = {"file_id": "{file_id}", "tools": [{"type": "code_interpreter"}]}
PICTURE = {"type": "image_file", "image_file": {"file_id": "{file_id}"}}
CODE_FILES = {"code_interpreter": {"file_ids": ["{file_id}"]}}
STORES = {"file_search": {"vector_store_ids": ["{vector_store_id}"]}}
NEW_STORE = {"file_search": {"vector_stores": [{"file_ids": ["{file_id}"]}]}}
REFERENCES: dict[str, tuple[str, dict[str, Any]]] = {
    "assistant, code files": ("/assistants", {"model": "scripted", "tool_resources": CODE_FILES}),
    "assistant, vector store": ("/assistants", {"model": "scripted", "tool_resources": STORES}),
    "assistant, new vector store": ("/assistants", {"model": "scripted", "tool_resources": NEW_STORE}),
    "assistant modified": ("/assistants/{own[assistant_id]}", {"tool_resources": CODE_FILES}),
    "thread, code files": ("/threads", {"tool_resources": CODE_FILES}),
    "thread, vector store": ("/threads", {"tool_resources": STORES}),
    "thread, new vector store": ("/threads", {"tool_resources": NEW_STORE}),
    "thread, attachment": ("/threads", {"messages": [{"role": "user", "content": "x", "attachments": [SEARCHED]}]}),
    "thread, picture": ("/threads", {"messages": [{"role": "user", "content": [PICTURE]}]}),
    "thread modified": ("/threads/{own[thread_id]}", {"tool_resources": STORES}),
    "message, file to search": ("/threads/{own[thread_id]}/messages", {"role": "user", "content": "x", "attachments": [SEARCHED]}),
    "message, file for code": ("/threads/{own[thread_id]}/messages", {"role": "user", "content": "x", "attachments": [CODE]}),
    "message, picture": ("/threads/{own[thread_id]}/messages", {"role": "user", "content": [PICTURE]}),
    "run": ("/threads/{own[thread_id]}/runs", {"assistant_id": "{assistant_id}"}),
    "run, messages": (
        "/threads/{own[thread_id]}/runs",
        {"assistant_id": "{own[assistant_id]}", "additional_messages": [{"role": "user", "content": "x", "attachments": [CODE]}]},
    ),
    "thread and run": ("/threads/runs", {"assistant_id": "{assistant_id}", "thread": {"messages": [{"role": "user", "content": "x"}]}}),
    "thread and run, resources": ("/threads/runs", {"assistant_id": "{own[assistant_id]}", "tool_resources": STORES}),
    "vector store": ("/vector_stores", {"file_ids": ["{file_id}"]}),
    "vector store file": ("/vector_stores/{own[vector_store_id]}/files", {"file_id": "{file_id}"}),
    "file batch": ("/vector_stores/{own[vector_store_id]}/file_batches", {"file_ids": ["{file_id}"]}),
}


@pytest.mark.parametrize(("path", "body"), REFERENCES.values(), ids=REFERENCES)
def test_what_belongs_to_another_project_cannot_be_referred_to(projects: tuple[Project, Project], path: str, body: dict[str, Any]) -> None:
    ours, theirs = projects
    nobody = {name: re.sub("[A-Za-z0-9]+$", "nobody", value) for name, value in theirs.ids.items()}

    refused, unknown = (ours.ask("POST", path.format(own=ours.ids), json=filled(body, {**ids, "own": ours.ids})) for ids in (theirs.ids, nobody))

    assert refused.status_code == 404, refused.text
    assert anonymous(refused.text, theirs.ids) == anonymous(unknown.text, nobody)


# ── Runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_code_made_belongs_to_the_thread_s_project(server: LiveServer, projects: tuple[Project, Project]) -> None:
    ours, theirs = projects
    server.engine.will_call("code_interpreter", "open('/mnt/data/made.txt', 'w')")
    server.engine.will_say("Done.")
    server.sandbox.will_emit([FileMade("/mnt/data/made.txt", b"made"), ExecutionEnded("ok")])
    thread = ours.client.beta.threads.create(messages=[{"role": "user", "content": "Make a file."}])

    ours.client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=ours.ids["assistant_id"], tools=[{"type": "code_interpreter"}], poll_interval_ms=20
    )

    [made] = [file for file in ours.client.files.list() if file.filename == "made.txt"]
    assert ours.client.files.content(made.id).read() == b"made"
    with pytest.raises(openai.NotFoundError):
        theirs.client.files.content(made.id)


def test_two_projects_upload_the_same_content_and_each_deletes_its_own(projects: tuple[Project, Project]) -> None:
    ours, theirs = (project.client.files.create(file=("same.txt", b"the same content"), purpose="assistants") for project in projects)

    projects[0].client.files.delete(ours.id)

    assert projects[1].client.files.content(theirs.id).read() == b"the same content"


def test_no_key_means_the_default_project(server: LiveServer, projects: tuple[Project, Project]) -> None:
    unlocked = httpx.get(f"{server.url}/assistants").json()["data"]
    named = httpx.get(f"{server.url}/assistants", headers={"authorization": f"Bearer {server.make_key('default')}"}).json()["data"]

    assert unlocked == named
    assert {each["id"] for each in unlocked}.isdisjoint({project.ids["assistant_id"] for project in projects})


def test_models_belong_to_all_so_a_project_cannot_delete_one(projects: tuple[Project, Project]) -> None:
    refused = projects[0].ask("DELETE", "/models/scripted")

    assert refused.status_code == 403
    assert "shared by all projects" in refused.json()["error"]["message"]
