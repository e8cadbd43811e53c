"""The page on the real server and the starter model: documents are asked, a program is run, and the README gets its picture.

The starter model has 135 million parameters, so it is steered in the open as everywhere else: the page names the tool that a run has to use, the instructions
hold an example of each, and the program stands in the message.

The pictures are taken anew with
    OFFLINE_ASSISTANTS_SCREENSHOTS=tests/acceptance/pictures scripts/test tests/acceptance/test_page.py
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from scripts.demo import CODE_INSTRUCTIONS, SEARCH_INSTRUCTIONS
from tests.acceptance.conversation import MODEL
from tests.acceptance.server_process import ServerProcess
from tests.acceptance.test_main_job import as_pdf
from tests.conftest import find_chromium

pytestmark = [pytest.mark.model, pytest.mark.docker, pytest.mark.browser, pytest.mark.timeout(240)]

ANSWER_TIMEOUT_MS = 100_000
WINDOW = {"width": 1440, "height": 1080}
HANDBOOK = {
    "Opening hours": "The observatory is open to visitors from Wednesday to Sunday. The gates open at 14:00 and close at 22:30.",
    "The telescope": "The main telescope has a mirror of 1.8 metres. It was built in 1974 and stands under a copper dome.",
    "Tickets": "A ticket costs 12 euros for adults and 5 euros for children. Tickets are sold at the gate, not on the internet.",
}
TREES = "kind,height\noak,21.5\nbirch,17.0\noak,24.5\nbirch,15.0\nlarch,30.0\n"
PROGRAM = """import pandas as pd
import matplotlib.pyplot as plt
trees = pd.read_csv("/mnt/data/trees.csv")
mean = trees.groupby("kind")["height"].mean()
mean.plot.bar(figsize=(6, 2.4), rot=0)
plt.savefig("/mnt/data/chart.png")
print(mean)"""


@pytest.fixture
def page(own_server: ServerProcess) -> Iterator[Page]:
    """The page of a server that nobody used yet, watched for requests to others."""
    address, asked = own_server.url.removesuffix("/v1"), list[str]()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = chromium.new_page(viewport=WINDOW, reduced_motion="reduce", locale="en-GB")
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        yield page
        chromium.close()
    assert [url for url in asked if not url.startswith((address, f"blob:{address}"))] == []


def ask(page: Page, tool: str, text: str) -> None:
    page.get_by_label("What the run has to use").select_option(label=tool)
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_visible(timeout=ANSWER_TIMEOUT_MS)


def keep(page: Page, name: str) -> None:
    if folder := os.environ.get("OFFLINE_ASSISTANTS_SCREENSHOTS"):
        page.wait_for_timeout(300)
        page.screenshot(path=Path(folder) / name)


def create(page: Page, name: str, instructions: str, tool: str, file: Path) -> None:
    """An assistant with one tool and a file for it."""
    page.get_by_role("button", name="Create an assistant").click()
    expect(page.get_by_label("Name")).to_have_value("New assistant")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Instructions").fill(instructions)
    page.get_by_label("Temperature, as a number").fill("0")
    page.get_by_label(tool).first.check()
    page.get_by_label(f"Add files for {tool.lower()}").set_input_files([file])
    expect(page.get_by_role("list", name=f"Files of {tool.lower()}")).to_contain_text(re.compile("bytes|KB"), timeout=60_000)  # it is indexed
    expect(page.get_by_text("Saved", exact=True)).to_be_visible()


def test_a_document_is_cited_and_a_program_is_run(page: Page, tmp_path: Path) -> None:
    (tmp_path / "handbook.pdf").write_bytes(as_pdf("Brightwater Observatory: visitor handbook", HANDBOOK))
    (tmp_path / "trees.csv").write_text(TREES)
    create(page, "Tree analyst", CODE_INSTRUCTIONS, "Code interpreter", tmp_path / "trees.csv")
    create(page, "Brightwater guide", SEARCH_INSTRUCTIONS, "File search", tmp_path / "handbook.pdf")
    expect(page.get_by_label("Model")).to_have_value(MODEL)
    run = page.get_by_role("region", name="Run", exact=True)

    ask(page, "Search files", "How much is a ticket for adults?")

    expect(page.get_by_role("article", name="Assistant")).to_contain_text("12 euros")
    expect(run.locator(".results li").first).to_contain_text("handbook.pdf, page 1")
    page.get_by_role("button", name="Source 1: handbook.pdf, page 1").first.click()
    expect(page.locator("mark")).to_contain_text("12 euros")
    keep(page, "source.png")
    page.keyboard.press("Escape")

    page.get_by_label("Which assistant").select_option(label="Tree analyst")
    ask(page, "Run code", f"What is the mean height of the oaks?\n\nRun this program:\n```python\n{PROGRAM}\n```")

    expect(run.get_by_role("group", name="What the code printed").first).to_contain_text("larch    30.0")
    expect(page.get_by_role("article", name="Assistant").last.get_by_role("img").first).to_be_visible()
    keep(page, "playground.png")
