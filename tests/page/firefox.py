"""Firefox, driven over WebDriver BiDi by its own websocket: no driver and no package for it, only a few commands.

https://w3c.github.io/webdriver-bidi/
"""

from __future__ import annotations

import base64
import itertools
import json
import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("firefox-esr", "firefox")
START_TIMEOUT_S = 60
WAIT_S = 20
KEYS = {"Control": "\ue009", "Enter": "\ue007", "Escape": "\ue00c", "Alt": "\ue00a", "Tab": "\ue004"}

MIDDLE = """(() => {
    const element = document.querySelector(%s);
    element.scrollIntoView({ block: "center" });
    const box = element.getBoundingClientRect();
    return JSON.stringify([Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)]);
})()"""


def find_firefox() -> str | None:
    """The system's Firefox."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class FirefoxPage:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.log: list[str] = []
        """What scripts and policies complained about."""
        self.asked: list[str] = []
        """Addresses of all requests."""
        self._ask("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": False}})
        self._ask("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        self._context = self._ask("browsingContext.getTree")["contexts"][0]["context"]
        self._ask("browsingContext.setViewport", context=self._context, viewport={"width": 1440, "height": 900})

    def open(self, url: str) -> None:
        self._ask("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, which may be a promise of a string, a number or a boolean. Raises RuntimeError when it throws."""
        answer = self._ask("script.evaluate", expression=expression, target={"context": self._context}, awaitPromise=True)
        if answer["type"] == "exception":
            raise RuntimeError(answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Until the expression is true. Raises TimeoutError with what the page shows."""
        deadline = time.monotonic() + WAIT_S
        while not self.evaluate(f"!!({expression})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{expression}\n{self.evaluate('document.body.innerText')}")
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """The middle of the first element that the selector finds."""
        self.wait_for(f"document.querySelector({json.dumps(selector)})")
        x, y = json.loads(self.evaluate(MIDDLE % json.dumps(selector)))
        moves = [{"type": "pointerMove", "x": x, "y": y}, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self._act({"type": "pointer", "id": "mouse", "actions": moves})

    def type(self, text: str) -> None:
        self._act({"type": "key", "id": "keyboard", "actions": [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]})

    def press(self, *names: str) -> None:
        """Keys held together, such as "Control", "Enter"."""
        keys = [KEYS.get(name, name) for name in names]
        pressed = [*({"type": "keyDown", "value": key} for key in keys), *({"type": "keyUp", "value": key} for key in reversed(keys))]
        self._act({"type": "key", "id": "keyboard", "actions": pressed})

    def choose_files(self, selector: str, paths: list[Path]) -> None:
        node = self._ask("script.evaluate", expression=f"document.querySelector({json.dumps(selector)})", target={"context": self._context}, awaitPromise=False)
        self._ask("input.setFiles", context=self._context, element={"sharedId": node["result"]["sharedId"]}, files=[str(path) for path in paths])

    def keep_picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("browsingContext.captureScreenshot", context=self._context)["data"]))

    def _act(self, source: dict[str, Any]) -> None:
        self._ask("input.performActions", context=self._context, actions=[source])

    def _ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=START_TIMEOUT_S))
            if message.get("id") == number:
                if message["type"] == "error":
                    raise RuntimeError(f"{method}: {message['error']}: {message['message']}")
                return message["result"]
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        if message.get("method") == "log.entryAdded" and message["params"]["level"] == "error":
            self.log.append(str(message["params"].get("text")))
        elif message.get("method") == "network.beforeRequestSent":
            self.asked.append(message["params"]["request"]["url"])


@contextmanager
def firefox(folder: Path) -> Iterator[FirefoxPage]:
    """A tab of a Firefox with a profile of its own in `folder`, which asks nobody for anything by itself."""
    program = find_firefox()
    assert program is not None
    profile = folder / "profile"
    profile.mkdir()
    (profile / "user.js").write_text("".join(f'user_pref("{name}", {json.dumps(value)});\n' for name, value in QUIET.items()))
    command = [program, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={"HOME": str(folder), "PATH": "/usr/bin:/bin"})
    try:
        with connect(f"{_address_of(process)}/session", max_size=None) as connection:
            yield FirefoxPage(connection)
    finally:
        process.terminate()
        process.communicate(timeout=START_TIMEOUT_S)


QUIET: dict[str, Any] = {
    "app.normandy.enabled": False,
    "app.update.auto": False,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "intl.accept_languages": "en-GB",
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "remote.active-protocols": 1,
    "services.settings.server": "",
    "toolkit.telemetry.enabled": False,
    "ui.prefersReducedMotion": 1,
}


def _address_of(process: subprocess.Popen[str]) -> str:
    """Where its websocket listens, as it says on its error output."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stderr
        for line in process.stderr:
            lines.put(line)

    threading.Thread(target=read, daemon=True).start()
    deadline = time.monotonic() + START_TIMEOUT_S
    while (left := deadline - time.monotonic()) > 0:
        if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", lines.get(timeout=left)):
            return found[1]
    raise TimeoutError("Firefox did not say where it listens")
