"""Measures the page: how soon a long answer is on the screen, what the browser works for it, and how evenly it draws meanwhile.

A server in a process of its own says 1,000 chunks in 6 s, each at its time; Chromium shows them in a window of 1440 x 900 points. Run as a program, this file
is that server.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench_figures import Row

from offline_assistants.bootstrap import build_app
from offline_assistants.ports import Finished, TextDelta
from offline_assistants.server import listen, serve
from offline_assistants.settings import Settings
from offline_assistants.testing.hash_documents import HashDocuments
from offline_assistants.testing.scripted_engine import ScriptedEngine
from offline_assistants.testing.scripted_sandbox import ScriptedSandbox

NUM_CHUNKS, SENDING_S = 1000, 6.0
LIMIT_S = 60
STOP_TIMEOUT_S = 30
PARAGRAPH = "A sentence with **bold** words, `code` and [links](https://example.org) in it.\n\n- one\n- two\n\n```python\nprint('some code')\n```\n\n"
"""What models write: blocks of several kinds."""
LAST = "Finis."

WATCH = """([last, limit_ms]) => {
    const watched = { frames: [], began: 0, shown: 0 };
    window.watched = new Promise((resolve, reject) => {
        setTimeout(() => reject(new Error("The last chunk has not come.")), limit_ms);
        let before = performance.now();
        const look = (now) => {
            if (watched.began) watched.frames.push(now - before);
            before = now;
            const answer = [...document.querySelectorAll(".message.assistant .markdown")].at(-1);
            if (watched.began && answer?.textContent.trimEnd().endsWith(last)) resolve({ ...watched, shown: performance.now() });
            else requestAnimationFrame(look);
        };
        requestAnimationFrame(look);
    });
    addEventListener("keydown", (event) => { if (event.key === "Enter") watched.began = performance.now(); }, true);
}"""
"""Notes when Enter is pressed, the time of every frame from then on, and the frame in which the last chunk is there."""


class PageBench:
    """A long answer in the page, from the key that asks for it to the last word on the screen."""

    def __init__(self) -> None:
        self.shown = Row(f"{NUM_CHUNKS:,} chunks sent in {SENDING_S:g} s, on the screen after", "s", 6.5)
        self.work = Row("processor time of the browser meanwhile", "s", 5.0)
        self.frames = Row("99th percentile of the time between frames", "ms", 100)
        self.rows = [self.shown, self.work, self.frames]

    def measure(self) -> None:
        """One sample of each. Raises RuntimeError when there is no browser, or the answer is not whole."""
        from playwright.sync_api import Error, sync_playwright

        chromium = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
        if chromium is None:
            raise RuntimeError("there is no Chromium; scripts/setup installs it")
        try:
            with _serving() as address, sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                self._watch(browser.new_page(viewport={"width": 1440, "height": 900}), address)
                browser.close()
        except Error as error:
            raise RuntimeError(str(error)) from error

    def _watch(self, page: Any, address: str) -> None:
        page.goto(address)
        page.get_by_role("button", name="Create an assistant").click()
        page.get_by_label("Message", exact=True).fill("Go on for long.")
        page.evaluate(WATCH, [LAST, 1000 * LIMIT_S])
        page.wait_for_timeout(1000)  # what starts with the page has started
        before_s = _browser_cpu_s()
        page.keyboard.press("Control+Enter")
        watched = page.evaluate("() => window.watched")
        work_s = _browser_cpu_s() - before_s
        page.get_by_role("button", name="Run", exact=True).wait_for()
        said = page.locator(".figures").inner_text()
        if f"{NUM_CHUNKS:,} tokens" not in said:
            raise RuntimeError(f"the answer is not whole: {said}")
        frames = sorted(watched["frames"])
        self.shown.samples.append((watched["shown"] - watched["began"]) / 1000)
        self.work.samples.append(work_s)
        self.frames.samples.append(frames[int(len(frames) * 0.99)])


def _browser_cpu_s() -> float:
    """Of all processes of the browser, which are descendants of this one."""
    stats = {int(entry.name): stat for entry in Path("/proc").iterdir() if entry.name.isdigit() and (stat := _stat(entry))}
    family = {os.getpid()}
    while more := {pid for pid, stat in stats.items() if int(stat[2]) in family} - family:
        family |= more
    ticks = sum(int(stats[pid][12]) + int(stats[pid][13]) for pid in family if "chrom" in stats[pid][0])
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(entry: Path) -> list[str]:
    """The name of a process, then what follows it in /proc/PID/stat; empty when it is gone."""
    try:
        head, _, tail = (entry / "stat").read_text().rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [head.partition("(")[2], *tail.split()]


# ── The server ───────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _serving() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="offline-assistants-bench-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen([sys.executable, __file__, folder], stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert process.stdout
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("the server did not come up")
            yield f"http://127.0.0.1:{int(line)}"
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


def chunks() -> list[str]:
    words = [f"{word} " for word in (PARAGRAPH * (NUM_CHUNKS // 10)).split(" ")]
    return [*words[: NUM_CHUNKS - 1], f"\n\n{LAST}"]


class _Paced(ScriptedEngine):
    """Every chunk at its time, however long the one before it took."""

    async def generate(self, model: str, prompt: Any, sampling: Any) -> Any:
        began = time.perf_counter()
        for number, chunk in enumerate(chunks(), start=1):
            await asyncio.sleep(max(0.0, began + number * SENDING_S / NUM_CHUNKS - time.perf_counter()))
            yield TextDelta(chunk)
        yield Finished("stop", await self.measure(model, prompt), NUM_CHUNKS, num_cached_tokens=0)


async def _serve(folder: Path) -> None:
    settings = Settings(data_dir=folder / "data", min_free_disk_bytes=0)
    async with build_app(settings, engines=_Paced(), documents=HashDocuments(), sandbox=ScriptedSandbox()) as opened:
        listener = listen("127.0.0.1", 0)
        print(listener.getsockname()[1], flush=True)
        await serve(opened, [listener], log_level="error")


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
