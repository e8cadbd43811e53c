"""A walk through everything that the page does: in each state nothing that axe finds against WCAG A and AA, and nothing wider than the window, in light and
dark and on a phone.

OFFLINE_ASSISTANTS_SCREENSHOTS=FOLDER keeps a picture of each, for people to look at: FOLDER/NUMBER-STATE-{light,dark,phone}.png.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

import openai
import pytest
from playwright.sync_api import Page, expect

from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.ports import ExecutionEnded, FileMade, Image, Logs
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox
from tests.page.conftest import PHONE, answer, ask
from tests.page.look import Look
from tests.page.test_safety import HOSTILE
from tests.page.test_speed import PARAGRAPH
from tests.page.test_tools import LEASE, add_function, chart

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


def test_a_page_that_nobody_used_yet(page: Page) -> None:
    look = Look(page)

    look.at("01-nothing-yet")

    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    look.at("02-shortcuts")


@pytest.mark.timeout(240)
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
    expect(ready.get_by_label("Output of get_weather")).to_be_in_viewport()
    look.at("06-function-call")

    for column, name in (("Alt+1", "assistant"), ("Alt+3", "run")):
        ready.set_viewport_size(PHONE)
        ready.keyboard.press(column)
        look.at(f"07-{name}-column")


@pytest.mark.timeout(240)
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


@pytest.mark.timeout(240)
def test_files_on_their_way(ready: Page, engine: ScriptedEngine, tmp_path: Path) -> None:
    look = Look(ready)
    for name, content in {
        "lease.md": LEASE.encode(),
        "trees.csv": b"kind,height\noak,23\n",
        "chart.png": chart(),
        "scan of the whole archive.pdf": b"%PDF" * 250_000,
    }.items():
        (tmp_path / name).write_bytes(content)
    ready.get_by_label("File search").first.check()
    ready.get_by_label("Code interpreter").first.check()
    slow = ready.context.new_cdp_session(ready)
    slow.send("Network.enable")
    slow.send("Network.emulateNetworkConditions", {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 40_000})
    ready.get_by_label("Add files for file search").set_input_files([tmp_path / "scan of the whole archive.pdf", tmp_path / "lease.md"])
    expect(ready.get_by_role("list", name="Uploads").get_by_role("listitem").last).to_be_visible()
    ready.get_by_label("Add files for file search").scroll_into_view_if_needed()
    look.at("16-files-being-sent")
    slow.send("Network.emulateNetworkConditions", {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
    slow.detach()

    ready.get_by_label("Attach files").set_input_files([tmp_path / "lease.md", tmp_path / "chart.png", tmp_path / "trees.csv"])
    expect(ready.get_by_role("list", name="Attached files").get_by_role("combobox")).to_have_count(3)
    ready.get_by_label("Message", exact=True).fill("What do these say?\n\nAnswer in one sentence.")
    look.at("17-attachments")
    engine.picture_tokens = 64
    engine.will_say("They speak of trees.")
    ready.keyboard.press("Control+Enter")
    answer(ready, "They speak of trees.")
    expect(ready.get_by_role("article", name="You").get_by_role("img", name="chart.png")).to_be_visible()
    look.at("18-message-with-files")


@pytest.mark.timeout(240)
def test_what_goes_wrong(ready: Page, engine: ScriptedEngine, client: openai.OpenAI) -> None:
    look = Look(ready)
    engine.will_fail(OfflineAssistantsError("The engine's process has ended: the machine had no memory left. A smaller model, or a smaller context, helps."))
    ask(ready, "Hello?")
    expect(ready.get_by_text("The run failed: ")).to_be_visible()
    look.at("19-failed-run")

    engine.will_say(HOSTILE)
    ask(ready, "Be hostile.")
    answer(ready, "The end.")
    look.at("20-hostile-answer")
    ready.get_by_role("button", name="page", exact=True).click()
    look.at("21-address-outside")
    ready.keyboard.press("Escape")

    [assistant] = client.beta.assistants.list().data
    client.beta.assistants.delete(assistant.id)
    ready.get_by_role("textbox", name="Name").fill("Too late")
    expect(ready.get_by_text("Not saved")).to_be_visible()
    look.at("22-not-saved")
    ready.context.set_offline(True)
    ask(ready, "Still there?")
    expect(ready.get_by_text("The server does not answer. The page goes on")).to_be_visible()
    look.at("23-server-gone")
    ready.context.set_offline(False)


@pytest.mark.timeout(240)
def test_threads_and_a_long_one(ready: Page, client: openai.OpenAI) -> None:
    for title in ("Lease of the mill", "Höhe der Bäume, nach Art und Standort", "Ποσοστά και τιμές", "Weather in Lisbon"):
        client.beta.threads.create(messages=[{"role": "user", "content": "Hello?"}], metadata={"title": title})
    client.beta.threads.create(
        messages=[{"role": "user" if number % 2 else "assistant", "content": f"Message {number}.\n\n{PARAGRAPH}"} for number in range(60)],
        metadata={"title": "A long one"},
    )
    ready.reload()
    look = Look(ready)
    ready.get_by_role("button", name="A long one").first.click()
    expect(ready.get_by_text("Message 59.")).to_be_in_viewport()
    ready.locator(".messages").evaluate("(list) => { list.scrollTop = list.scrollHeight / 2 }")
    expect(ready.get_by_role("button", name="To the newest message")).to_be_visible()
    look.at("24-scrolled-back")
    ready.get_by_label("Export the thread").click()
    look.at("25-export")
    ready.keyboard.press("Escape")

    ready.keyboard.press("Alt+t")
    ready.get_by_role("dialog").get_by_role("button", name="Rename Weather in Lisbon").click()
    look.at("26-renaming")
    ready.get_by_role("dialog").get_by_label("Search threads").fill("nowhere")
    look.at("27-nothing-found")
    ready.keyboard.press("Escape")


@pytest.mark.timeout(240)
def test_what_a_run_leaves_behind(ready: Page, engine: ScriptedEngine) -> None:
    look = Look(ready)
    add_function(ready, "get_weather")
    engine.will_call("get_weather", '{"city": "Lisbon"}')
    engine.will_say("In Lisbon it is **24 degrees**.")
    ready.get_by_label("What the run has to use").select_option(label="Call get_weather")
    ask(ready, "Which weather?")
    ready.get_by_label("Output of get_weather").fill('{"degrees": 24, "sky": "clear"}')
    ready.keyboard.press("Control+Enter")
    answer(ready, "24 degrees")
    ready.locator(".log summary").filter(has_text="/runs").first.click()
    expect(ready.get_by_role("group", name="Events")).to_be_visible()
    look.at("28-function-and-log")
    ready.keyboard.press("Alt+c")
    ready.get_by_role("button", name="curl", exact=True).click()
    look.at("29-curl")
    ready.keyboard.press("Escape")
    ready.get_by_role("button", name="Clone this assistant").click()
    expect(ready.get_by_role("textbox", name="Name")).to_have_value("New assistant (copy)")
    ready.get_by_label("Instructions").fill("Short answers.")
    ready.get_by_label("Response format").select_option("json_schema")
    ready.get_by_role("textbox", name="JSON schema").fill('{"name": "city", "schema": {"type": "objekt"}}')
    expect(ready.get_by_text('"schema.type" is "objekt"')).to_be_visible()
    ready.get_by_text('"schema.type" is "objekt"').scroll_into_view_if_needed()
    look.at("30-clone-and-bad-schema")


def test_an_attempt_of_the_server_to_reach_out_changes_the_badge(page: Page) -> None:
    """Last of the walk: there is one list for the server, and what is on it stays."""
    with socket.socket() as outside:
        outside.setblocking(False)
        outside.connect_ex(("203.0.113.7", 9))
    page.reload()

    badge = page.get_by_role("button", name="Network: ")
    expect(badge).to_contain_text("attempt")
    badge.click()

    expect(page.get_by_role("dialog", name="Network")).to_contain_text("203.0.113.7:9")
    Look(page).at("31-network-attempts")
