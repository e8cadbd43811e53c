"""Every state of the page: nothing that axe finds against WCAG A and AA, nothing wider than the window, in light and dark and on a phone.

OFFLINE_ASSISTANTS_SCREENSHOTS=FOLDER keeps a picture of each, for people to look at.
"""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from offline_assistants.ports import ExecutionEnded, FileMade, Image, Logs
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.page.conftest import DESKTOP, PHONE, answer, ask
from tests.page.test_tools import LEASE, add_function, chart

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
ANSWER = """The lease ends on the last day of March 2031. In short:

| What | When | Cost |
|---|:-:|--:|
| Notice | a year before | 0 |
| End | 31 March 2031 | 1,200 |

1. Write a letter, with the **date** and your `reference`.
2. Keep the *receipt*.

```python
def months_left(today: date) -> int:
    \"\"\"Whole months until the lease ends.\"\"\"
    return (2031 - today.year) * 12 + 3 - today.month  # never below zero
```

> Notice is given a year before.

The rest is \\(r = \\frac{a_1}{b_2}\\) of the [manual](https://example.org/manual)."""


class Look:
    """Looks at a page in three shapes."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._folder = os.environ.get("OFFLINE_ASSISTANTS_SCREENSHOTS")
        page.evaluate(AXE)

    def at(self, state: str) -> None:
        """Checks it in light and dark, and its width on a phone."""
        for scheme in ("light", "dark"):
            self._page.emulate_media(color_scheme=scheme)
            self._keep(f"{state}-{scheme}")
            self._check(f"{state}, {scheme}")
        self._page.set_viewport_size(PHONE)
        self._keep(f"{state}-phone")
        self._check(f"{state}, phone")
        assert self._page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{state} is wider than a phone"
        self._page.set_viewport_size(DESKTOP)
        self._page.emulate_media(color_scheme="light")

    def _keep(self, name: str) -> None:
        if self._folder:
            self._page.wait_for_timeout(200)
            self._page.screenshot(path=Path(self._folder) / f"{name}.png")

    def _check(self, where: str) -> None:
        result: Any = self._page.evaluate("(rules) => axe.run(document, rules)", RULES)
        found = [f"{each['id']}: {node['html'][:200]} {node['failureSummary'][:300]}" for each in result["violations"] for node in each["nodes"]]
        assert found == [], where


def test_a_page_that_nobody_used_yet(page: Page) -> None:
    look = Look(page)

    look.at("01-nothing-yet")

    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    look.at("02-shortcuts")


@pytest.mark.timeout(120)
def test_a_thread_with_every_tool(ready: Page, engine: ScriptedEngine, sandbox: ScriptedSandbox, tmp_path: Path) -> None:
    look = Look(ready)
    (tmp_path / "lease.md").write_text(LEASE)
    (tmp_path / "broken.xyz").write_bytes(b"\0")
    ready.get_by_label("Name").fill("Lease assistant")
    ready.get_by_label("File search").first.check()
    ready.get_by_label("Code interpreter").first.check()
    ready.get_by_label("Add files for file search").set_input_files([tmp_path / "lease.md", tmp_path / "broken.xyz"])
    expect(ready.get_by_role("list", name="Files of file search")).to_contain_text("KB")
    add_function(ready, "get_weather")
    engine.will_call("file_search", json.dumps({"query": "when the lease ends"}))
    engine.will_say(ANSWER)
    ask(ready, "When does the lease end, and what do I have to do until then?")
    answer(ready, "The rest is")
    look.at("03-cited-answer")

    ready.get_by_role("button", name="Source 1").click()
    expect(ready.locator("mark")).to_be_visible()
    look.at("04-source")
    ready.keyboard.press("Escape")

    sandbox.will_emit(
        [Logs("kind\nbirch    16.0\noak      23.0\n"), Image(chart(), "chart.png"), FileMade("/mnt/data/mean.csv", b"kind\n"), ExecutionEnded("ok")]
    )
    engine.will_call("code_interpreter", "import pandas as pd\ntrees = pd.read_csv('trees.csv')\nprint(trees.groupby('kind').mean())")
    engine.will_say("Oaks are 23 metres high. The table: [mean.csv](sandbox:/mnt/data/mean.csv)")
    ask(ready, "And the trees?")
    answer(ready, "Oaks are 23 metres high.")
    look.at("05-code")

    engine.will_call("get_weather", '{"city": "Lisbon"}')
    ask(ready, "And the weather in Lisbon?")
    expect(ready.get_by_label("Output of get_weather")).to_be_visible()
    look.at("06-function-call")

    for column, name in (("Alt+1", "assistant"), ("Alt+3", "run")):
        ready.set_viewport_size(PHONE)
        ready.keyboard.press(column)
        look.at(f"07-{name}-column")


@pytest.mark.timeout(120)
def test_dialogs_and_failures(ready: Page, engine: ScriptedEngine) -> None:
    look = Look(ready)
    engine.will_say("A story, ").then_wait()
    ask(ready, "Tell me a story.")
    expect(ready.get_by_role("article", name="Assistant")).to_contain_text("A story,")
    look.at("08-streaming")
    ready.keyboard.press("Escape")
    expect(ready.get_by_text("Stopped.")).to_be_visible()
    ready.get_by_role("button", name="Edit and send again").click()
    look.at("09-stopped-and-editing")
    ready.keyboard.press("Escape")

    for number, (keys, name) in enumerate((("Alt+c", "code"), ("Alt+t", "threads")), start=10):
        ready.keyboard.press(keys)
        expect(ready.get_by_role("dialog")).to_be_visible()
        look.at(f"{number}-{name}")
        ready.keyboard.press("Escape")
        expect(ready.get_by_role("dialog")).to_have_count(0)
    ready.get_by_role("button", name="Network: ").click()
    look.at("12-network")
    ready.keyboard.press("Escape")
    ready.get_by_role("button", name="Delete this assistant").click()
    look.at("13-confirm")
    ready.keyboard.press("Escape")
    ready.get_by_role("region", name="Assistant", exact=True).get_by_role("button", name="Add", exact=True).click()
    ready.get_by_label("Definition as JSON").fill('{\n  "name": "look_up",\n}')
    look.at("14-function-editor")
    ready.keyboard.press("Escape")
    ready.get_by_label("Response format").select_option("json_schema")
    ready.get_by_label("Top P", exact=True).scroll_into_view_if_needed()
    look.at("15-response-format")
