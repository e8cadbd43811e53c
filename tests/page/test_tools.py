"""What tools bring into the page: steps while they happen, sources, pictures, files, functions that a person answers."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import PIL.Image
import PIL.ImageDraw
import pytest
from openai.types.beta import AssistantToolChoice
from playwright.sync_api import Page, expect

from offline_assistants.ports import ExecutionEnded, FileMade, Image, Logs
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.page.conftest import answer, ask

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
LEASE = "# The lease\n\n" + "Nothing of interest stands here. " * 300 + "\n\nThe lease ends on the last day of March 2031. 🌍 Notice is given a year before.\n"


def chart() -> bytes:
    """A picture that looks like one, as PNG."""
    picture = PIL.Image.new("RGB", (480, 260), "white")
    draw = PIL.ImageDraw.Draw(picture)
    for index, height in enumerate((90, 160, 120, 200)):
        draw.rectangle((50 + index * 100, 230 - height, 120 + index * 100, 230), fill="#1d6b58")
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def run_panel(page: Page) -> Any:
    return page.get_by_role("region", name="Run", exact=True)


@pytest.fixture
def searching(ready: Page, tmp_path: Path) -> Page:
    path = tmp_path / "lease.md"
    path.write_text(LEASE)
    ready.get_by_label("File search").first.check()
    ready.get_by_label("Add files for file search").set_input_files([path])
    expect(ready.get_by_role("list", name="Files of file search")).to_contain_text("KB")
    return ready


def test_a_citation_opens_the_passage_in_its_source(searching: Page, engine: ScriptedEngine) -> None:
    engine.will_call("file_search", json.dumps({"query": "when the lease ends"}))
    engine.will_say("The lease ends on the last day of March 2031.")

    ask(searching, "When does the lease end?")

    answer(searching, "last day of March 2031.")
    run = run_panel(searching)
    expect(run).to_contain_text("when the lease ends")
    expect(run.locator(".results li").first).to_contain_text("lease.md")
    searching.get_by_role("button", name="Source 1: lease.md").click()
    expect(searching.locator("mark")).to_contain_text("The lease ends on the last day of March 2031.")
    expect(searching.locator("mark")).to_be_in_viewport()
    searching.keyboard.press("Escape")
    expect(searching.get_by_role("dialog")).to_have_count(0)


def test_code_is_shown_with_its_output_pictures_and_files(ready: Page, engine: ScriptedEngine, sandbox: ScriptedSandbox) -> None:
    ready.get_by_label("Code interpreter").first.check()
    sandbox.will_emit([Logs("21 trees\n"), Image(PIXEL, "chart.png"), FileMade("/mnt/data/mean.csv", b"kind,mean\noak,23\n"), ExecutionEnded("ok")])
    engine.will_call("code_interpreter", "print(len(trees), 'trees')")
    engine.will_say("There are 21 trees: [the table](sandbox:/mnt/data/mean.csv).")

    ask(ready, "How many trees?")

    answer(ready, "There are 21 trees")
    run = run_panel(ready)
    expect(run.get_by_role("group", name="Code", exact=True)).to_have_text("print(len(trees), 'trees')")
    expect(run.get_by_role("group", name="What the code printed")).to_contain_text("21 trees")
    expect(run.get_by_role("img").first).to_be_visible()
    expect(ready.get_by_role("article", name="Assistant").get_by_role("img").first).to_be_visible()
    with ready.expect_download() as download:
        ready.get_by_role("article", name="Assistant").get_by_role("button", name="the table").click()
    assert (download.value.suggested_filename, Path(download.value.path()).read_bytes()) == ("mean.csv", b"kind,mean\noak,23\n")


def add_function(page: Page, name: str) -> None:
    page.get_by_role("region", name="Assistant", exact=True).get_by_role("button", name="Add", exact=True).click()
    page.get_by_label("Definition as JSON").fill(json.dumps({"name": name, "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}))
    page.get_by_role("button", name="Save", exact=True).click()


def test_a_person_answers_two_functions_by_hand(ready: Page, engine: ScriptedEngine) -> None:
    add_function(ready, "weather")
    engine.will_call("weather", '{"city": "Lisbon"}').then_call("weather", '{"city": "Oslo"}')
    engine.will_say("Lisbon is warmer.")
    ask(ready, "Which is warmer?")
    form = ready.get_by_role("region", name="The assistant calls functions")
    expect(form).to_contain_text("2 functions")

    form.get_by_label("Output of weather").first.fill("24")
    form.get_by_label("Output of weather").last.fill("7")
    ready.keyboard.press("Control+Enter")

    answer(ready, "Lisbon is warmer.")
    outputs = run_panel(ready).get_by_role("group", name="Output of weather")
    expect(outputs).to_have_text(["24", "7"])


def test_a_run_that_waits_for_a_function_is_there_after_a_reload_and_can_be_stopped(ready: Page, engine: ScriptedEngine, open_page: Callable[[], Page]) -> None:
    add_function(ready, "weather")
    engine.will_call("weather", '{"city": "Lisbon"}')
    ask(ready, "Weather?")
    expect(ready.get_by_label("Output of weather")).to_be_visible()

    again = open_page()
    again.get_by_role("button", name="Weather?").first.click()
    expect(again.get_by_label("Output of weather")).to_be_visible()
    again.get_by_role("button", name="Stop the run").click()

    expect(again.get_by_text("Stopped.")).to_be_visible()


def test_attachments_go_where_they_are_meant(ready: Page, client: openai.OpenAI, engine: ScriptedEngine, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("Remember the milk.")
    (tmp_path / "dot.png").write_bytes(PIXEL)
    (tmp_path / "trees.csv").write_text("kind\noak\n")
    ready.get_by_label("File search").first.check()
    ready.get_by_label("Code interpreter").first.check()
    ready.get_by_label("Attach files").set_input_files([tmp_path / "notes.md", tmp_path / "dot.png", tmp_path / "trees.csv"])
    attached = ready.get_by_role("list", name="Attached files")
    expect(attached.get_by_role("combobox")).to_have_count(3)

    ready.get_by_label("Message", exact=True).fill("Look.")
    ready.get_by_role("button", name="Add only").click()

    message = ready.get_by_role("article", name="You")
    expect(message.get_by_role("img", name="dot.png")).to_be_visible()
    expect(message.get_by_role("list")).to_contain_text("notes.md")
    [thread] = client.get("/threads", cast_to=object)["data"]  # type: ignore[index]
    [kept] = client.beta.threads.messages.list(thread["id"]).data
    assert sorted(tool.type for each in kept.attachments or [] for tool in each.tools or []) == ["code_interpreter", "file_search"]


def test_figures_log_and_code_of_a_thread(ready: Page, engine: ScriptedEngine) -> None:
    engine.will_say("Four.")
    ask(ready, "Two and 'two'?")
    answer(ready, "Four.")
    run = run_panel(ready)

    expect(run.locator(".figures")).to_contain_text("1 tokens")
    expect(run.get_by_text("of 8,192")).to_be_visible()
    run.locator(".log summary").filter(has_text="/runs").first.click()
    expect(run.get_by_role("group", name="Events")).to_contain_text("thread.message.delta")
    ready.get_by_role("button", name="View code").click()
    program = ready.get_by_role("group", name="Program")
    expect(program).to_contain_text("client.beta.threads.runs.stream(")
    compile(program.inner_text(), "program", "exec")
    ready.get_by_role("button", name="curl", exact=True).click()
    expect(program).to_contain_text("Two and '\\''two'\\''?")


def test_a_run_is_told_which_tool_to_use_and_the_program_says_so_too(searching: Page, engine: ScriptedEngine, client: openai.OpenAI) -> None:
    choice = searching.get_by_label("What the run has to use")
    expect(choice).to_have_value('"auto"')
    choice.select_option(label="Search files")
    engine.will_call("file_search", json.dumps({"query": "lease"}))
    engine.will_say("In March.")

    ask(searching, "When?")

    answer(searching, "In March.")
    [thread] = client.get("/threads", cast_to=object)["data"]  # type: ignore[index]
    assert client.beta.threads.runs.list(thread["id"]).data[0].tool_choice == AssistantToolChoice(type="file_search")
    searching.get_by_role("button", name="View code").click()
    expect(searching.get_by_role("group", name="Program")).to_contain_text('tool_choice={"type": "file_search"}')
    searching.keyboard.press("Escape")
    searching.get_by_label("File search").first.uncheck()
    expect(choice).to_have_count(0)
