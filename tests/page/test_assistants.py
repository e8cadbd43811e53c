"""The left column: assistants, their fields and their tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
from playwright.sync_api import Page, expect

from tests.page.conftest import ask


def only(client: openai.OpenAI) -> Any:
    [assistant] = client.beta.assistants.list().data
    return assistant


def saved(page: Page) -> None:
    expect(page.get_by_text("Saved", exact=True)).to_be_visible()


def panel(page: Page) -> Any:
    return page.get_by_role("region", name="Assistant", exact=True)


def test_what_is_typed_is_saved_and_undone_and_done_again(ready: Page, client: openai.OpenAI) -> None:
    ready.get_by_label("Name").fill("Lawyer")
    ready.get_by_label("Instructions").fill("Be exact.")
    ready.get_by_label("Temperature, as a number").fill("0.25")
    saved(ready)
    assert (only(client).name, only(client).instructions, only(client).temperature) == ("Lawyer", "Be exact.", 0.25)

    ready.get_by_role("button", name="Undo the last change").click()
    ready.keyboard.press("Alt+z")
    saved(ready)
    assert (only(client).instructions, only(client).temperature) == ("You are a helpful assistant.", 1.0)

    ready.get_by_role("button", name="Redo").click()
    saved(ready)
    assert (only(client).instructions, only(client).temperature) == ("Be exact.", 1.0)


def test_an_assistant_is_cloned_and_deleted(ready: Page, client: openai.OpenAI) -> None:
    ready.get_by_label("Name").fill("Original")
    ready.get_by_label("Code interpreter").check()

    ready.get_by_role("button", name="Clone this assistant").click()

    expect(ready.get_by_label("Name")).to_have_value("Original (copy)")
    assert [(each.name, [tool.type for tool in each.tools]) for each in client.beta.assistants.list().data] == [
        ("Original (copy)", ["code_interpreter"]),
        ("Original", ["code_interpreter"]),
    ]
    ready.get_by_role("button", name="Delete this assistant").click()
    ready.get_by_role("button", name="Delete", exact=True).click()
    expect(ready.get_by_label("Name")).to_have_value("Original")
    assert len(client.beta.assistants.list().data) == 1


def test_what_the_server_refuses_is_said_in_its_words(ready: Page, client: openai.OpenAI) -> None:
    client.beta.assistants.delete(only(client).id)

    ready.get_by_label("Name").fill("Too late")

    expect(panel(ready).get_by_role("alert")).to_contain_text("No assistant found with id")
    expect(ready.get_by_text("Not saved")).to_be_visible()


def test_documents_are_dropped_and_indexed_and_a_bad_one_says_why(ready: Page, client: openai.OpenAI, tmp_path: Path) -> None:
    good, bad = tmp_path / "lease.md", tmp_path / "lease.xyz"
    good.write_text("# Lease\n\nIt ends in March.")
    bad.write_bytes(b"\0\1\2")
    ready.get_by_label("File search").first.check()

    ready.get_by_label("Add files for file search").set_input_files([good, bad])

    files = ready.get_by_role("list", name="Files of file search")
    expect(files.get_by_role("listitem").filter(has_text="lease.md")).to_contain_text("bytes")
    expect(ready.get_by_role("listitem").filter(has_text="lease.xyz").locator(".error")).not_to_be_empty()
    [store_id] = only(client).tool_resources.file_search.vector_store_ids
    assert client.vector_stores.retrieve(store_id).file_counts.completed == 1

    files.get_by_role("button", name="Remove lease.md").click()
    expect(files.get_by_text("lease.md")).to_have_count(0)


def test_files_for_code_are_added_and_removed(ready: Page, client: openai.OpenAI, tmp_path: Path) -> None:
    data = tmp_path / "trees.csv"
    data.write_text("kind,height\noak,23\n")
    ready.get_by_label("Code interpreter").first.check()

    ready.get_by_label("Add files for code interpreter").set_input_files([data])

    listed = ready.get_by_role("list", name="Files of code interpreter")
    expect(listed).to_contain_text("trees.csv")
    saved(ready)
    assert len(only(client).tool_resources.code_interpreter.file_ids) == 1
    listed.get_by_role("button", name="Remove trees.csv").click()
    saved(ready)
    expect(listed).to_have_count(0)


def test_a_function_is_written_checked_changed_and_removed(ready: Page, client: openai.OpenAI) -> None:
    functions = panel(ready).get_by_role("button", name="Add", exact=True)
    functions.click()
    editor = ready.get_by_label("Definition as JSON")
    editor.fill('{\n  "name": "look up"\n}')
    expect(ready.get_by_text('"name" has 1 to 64 letters')).to_be_visible()
    expect(ready.get_by_role("button", name="Save", exact=True)).to_be_disabled()

    editor.fill('{"name": "look_up", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}}')
    ready.keyboard.press("Control+Enter")

    saved(ready)
    assert only(client).tools[0].function.name == "look_up"
    ready.get_by_role("button", name="look_up", exact=True).click()
    ready.get_by_label("Definition as JSON").fill('{"name": "find"}')
    ready.get_by_role("button", name="Save", exact=True).click()
    expect(ready.get_by_role("button", name="find", exact=True)).to_be_visible()
    ready.get_by_role("button", name="Remove find").click()
    saved(ready)
    assert only(client).tools == []


def test_a_response_format_with_a_schema_is_saved_when_it_is_valid(ready: Page, client: openai.OpenAI) -> None:
    ready.get_by_label("Response format").select_option("json_schema")
    schema = ready.get_by_role("textbox", name="JSON schema")
    schema.fill('{"name": "city", "schema": {"type": "objekt"}}')
    expect(ready.get_by_text('"schema.type" is "objekt"')).to_be_visible()

    schema.fill('{"name": "city", "schema": {"type": "object", "properties": {"city": {"type": "string"}}}}')

    saved(ready)
    assert only(client).response_format.json_schema.name == "city"


def test_the_model_is_shown_with_its_state(ready: Page) -> None:
    expect(ready.get_by_label("Model")).to_have_value("scripted")
    expect(ready.locator(".facts")).to_contain_text("Loaded8,192 tokens of context")


def test_a_run_uses_what_was_typed_just_before(ready: Page, client: openai.OpenAI) -> None:
    ready.get_by_label("Instructions").fill("Say yes.")
    ask(ready, "No?")
    expect(ready.get_by_role("article", name="Assistant")).to_contain_text("No?")

    [thread] = client.get("/threads", cast_to=object)["data"]  # type: ignore[index]
    assert client.beta.threads.runs.list(thread["id"]).data[0].instructions == "Say yes."
