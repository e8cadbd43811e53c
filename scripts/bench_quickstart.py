"""From `scripts/quickstart`, on a clone that is set up, to the first streamed word in the page: what a newcomer waits for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from bench_figures import Row
from quickstart import free_port

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 300
QUESTION = "Tell me about the sea."


class QuickstartBench:
    """One sample of each figure, all from the moment that the command is typed. The page is opened as soon as it answers, while the demo still runs."""

    def __init__(self) -> None:
        self.page = Row("scripts/quickstart, to the page that answers", "s", None)
        self.word = Row("scripts/quickstart, to the first streamed word in the page", "s", None)
        self.demo = Row("scripts/quickstart, to the end of its demo", "s", None)
        self.rows = [self.page, self.word, self.demo]

    def measure(self) -> None:
        port = free_port()
        with tempfile.TemporaryDirectory(prefix="offline-assistants-bench-", ignore_cleanup_errors=True) as folder:
            environment = {**os.environ, "OFFLINE_ASSISTANTS_DATA_DIR": f"{folder}/data", "XDG_STATE_HOME": folder}
            began = time.perf_counter()
            with subprocess.Popen(
                [ROOT / "scripts" / "quickstart", "--port", str(port)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as started:
                try:
                    _wait(lambda: _answers(port), began, started)
                    self.page.samples.append(time.perf_counter() - began)
                    _ask_in_the_page(f"http://127.0.0.1:{port}/")
                    self.word.samples.append(time.perf_counter() - began)
                finally:
                    said = started.communicate(timeout=TIMEOUT_S)[0]
                    self.demo.samples.append(time.perf_counter() - began)
                    _stop(said)
                if started.returncode:
                    raise RuntimeError(f"the demo went wrong:\n{said}")


def _wait(is_so: Callable[[], bool], began: float, process: subprocess.Popen[str]) -> None:
    while not is_so():
        if process.poll() is not None or time.perf_counter() - began > TIMEOUT_S:
            raise RuntimeError("scripts/quickstart did not bring a server")
        time.sleep(0.02)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _ask_in_the_page(url: str) -> None:
    """In a browser of its own process, as playwright keeps an event loop in its thread. Returns with the first word."""
    done = subprocess.run([sys.executable, __file__, url], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"the page gave no answer:\n{done.stderr}")


def _stop(said: str) -> None:
    """What quickstart says of how to stop the server."""
    found = re.search(r"kill (\d+)", said)
    if found is None:
        return
    subprocess.run(["kill", found[1]], check=False)
    while Path(f"/proc/{found[1]}").exists():
        time.sleep(0.05)


def show_first_word(url: str) -> None:
    """Open the page, make an assistant, ask, and wait for the first word of the answer."""
    from playwright.sync_api import expect, sync_playwright

    sys.path.insert(0, str(ROOT))
    from tests.conftest import find_chromium

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT_S * 1000)
        page.goto(url)
        page.get_by_role("button", name="Create an assistant").click()
        page.get_by_label("Message", exact=True).fill(QUESTION)
        page.keyboard.press("Control+Enter")
        expect(page.get_by_role("article", name="Assistant").locator(".body")).to_have_text(re.compile(r"\w"), timeout=TIMEOUT_S * 1000)
        os._exit(0)  # closing the browser in order is not waited for


if __name__ == "__main__":
    show_first_word(sys.argv[1])
