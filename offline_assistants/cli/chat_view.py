"""What a run tells, as a person reads it: the answer on stdout, steps, citations and files on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from offline_assistants.cli.connection import answered
from offline_assistants.cli.documents import save_content
from offline_assistants.cli.objects import citations_of
from offline_assistants.cli.terminal import remark
from offline_assistants.errors import OfflineAssistantsError


class ChatView:
    """Shows the events of one run. `waits` says what is being waited for, and is silenced while an answer is written."""

    def __init__(self, client: httpx.AsyncClient, save_to: Path, waits: Callable[[str], None]) -> None:
        self._client = client
        self._save_to = save_to
        self._waits = waits

    async def show(self, event: str, data: dict[str, Any]) -> None:
        """Raises OfflineAssistantsError with the reason when the run failed, expired or was cancelled elsewhere."""
        match event:
            case "thread.message.delta":
                self._waits("")
                for part in data["delta"]["content"]:
                    if part["type"] == "text":
                        _write(part["text"].get("value") or "")
            case "thread.message.completed" | "thread.message.incomplete":
                _write("\n")
                await self._show_what_it_brought(data)
            case "thread.run.step.created" if data["type"] == "tool_calls":
                self._waits("a tool is at work")
            case "thread.run.step.completed" if data["type"] == "tool_calls":
                self._waits("")
                for call in data["step_details"]["tool_calls"]:
                    _show_call(call)
            case "thread.run.failed" | "thread.run.expired" | "error":
                error: dict[str, Any] = data.get("last_error") or data.get("error") or data
                raise OfflineAssistantsError(str(error.get("message") or "The run expired."))
            case "thread.run.cancelled":  # whoever stops this command reads no further
                raise OfflineAssistantsError("The run was cancelled by somebody else. What was said is kept; `chat -c` goes on.")
            case "thread.run.incomplete":
                remark("(cut off: the answer reached its limit; --max-tokens allows more, -c goes on)")
            case _:
                pass

    async def _show_what_it_brought(self, message: dict[str, Any]) -> None:
        """Citations, and the files that code made: those are saved, beside what is there already."""
        attached: list[dict[str, Any]] = message["attachments"] or []
        made: list[str] = [each["file_id"] for each in attached]
        for part in message["content"]:
            if part["type"] == "image_file":
                made.append(part["image_file"]["file_id"])
            elif part["type"] == "text":
                made += [each["file_path"]["file_id"] for each in part["text"]["annotations"] if each["type"] == "file_path"]
                for line in citations_of(part["text"]):
                    remark(line)
        for file_id in dict.fromkeys(made):
            await self._save(file_id)

    async def _save(self, file_id: str) -> None:
        name = Path(answered(await self._client.get(f"/v1/files/{file_id}"))["filename"]).name
        target = self._save_to / name
        target = self._save_to / f"{target.stem}-{file_id}{target.suffix}" if target.exists() else target
        await save_content(self._client, file_id, target)
        remark(f"saved {target}")


def _show_call(call: dict[str, Any]) -> None:
    if call["type"] == "file_search":
        found: list[dict[str, Any]] = call["file_search"].get("results") or []
        remark("file_search found " + (", ".join(f"{each['file_name']} ({each['score']:.2f})" for each in found) or "nothing"))
    elif call["type"] == "code_interpreter":
        remark("code_interpreter")
        for line in call["code_interpreter"]["input"].splitlines():
            remark(f"  {line}")
        for output in call["code_interpreter"]["outputs"]:
            for line in output.get("logs", "").splitlines():
                remark(f"  > {line}")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
