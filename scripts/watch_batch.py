"""A look into the running server: the slots of each loaded model, who waits for one, and what the steps of the last moment took."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from offline_assistants.cli.connection import ask, running_server


def state_of(slot: Mapping[str, Any]) -> str:
    if not slot["is_busy"]:
        return "kept" if slot["num_tokens"] else ""
    return "writes" if slot["num_pending_tokens"] <= 1 else "reads"


def headline(model: str, now: Mapping[str, Any], before: Mapping[str, Any] | None, seconds: float) -> str:
    """What changed between two looks that lie so far apart; without an earlier one, what was done since the model was loaded."""
    line = f"{model}: {now['num_waiting']} waiting, {now['num_preempted']} of them preempted"
    if before is None or now["num_steps"] <= before["num_steps"]:
        return f"{line}; {now['num_steps']} steps so far, {now['num_prompt_tokens']} tokens read, {now['num_sampled_tokens']} sampled"
    done = {name: now[name] - before[name] for name in ("num_steps", "num_prompt_tokens", "num_sampled_tokens", "steps_s", "compute_s")}
    step_ms, around = 1000 * done["steps_s"] / done["num_steps"], 100 * (1 - done["compute_s"] / done["steps_s"])
    rates = f"{done['num_prompt_tokens'] / seconds:.0f} tokens/s read, {done['num_sampled_tokens'] / seconds:.0f} sampled"
    return f"{line}; {done['num_steps'] / seconds:.0f} steps/s of {step_ms:.1f} ms, {around:.1f} % of it around the computing; {rates}"


def table_of(title: str, slots: list[Mapping[str, Any]]) -> Table:
    table = Table("slot", "state", "in the cache", "to read", "written", title=title, title_justify="left")
    for number, slot in enumerate(slots):
        state = state_of(slot)
        pending = str(slot["num_pending_tokens"]) if state == "reads" else ""
        written = str(slot["num_answer_tokens"]) if slot["is_busy"] else ""
        table.add_row(str(number), state, str(slot["num_tokens"] or ""), pending, written)
    return table


Look = dict[str, dict[str, Any] | None]
"""What each model does; None for one that does not say in time."""


async def look() -> Look:
    return {each["id"]: each["batch"] for each in (await ask("GET", "/admin/models/loaded"))["data"]}


def view(now: Look, before: Look, seconds: float) -> Group:
    if not now:
        return Group("No model is in memory.")
    return Group(*(_view_of(model, batch, before.get(model), seconds) for model, batch in now.items()))


def _view_of(model: str, batch: dict[str, Any] | None, before: dict[str, Any] | None, seconds: float) -> Table | str:
    if batch is None:
        return f"{model}: does not say what it does; it is being loaded, or the machine is very busy."
    return table_of(headline(model, batch, before, seconds), batch["slots"])


async def watch(interval_s: float, *, is_once: bool) -> None:
    before: Look = {}
    began = time.monotonic()
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        while running_server():
            now, at = await look(), time.monotonic()
            live.update(view(now, before, at - began), refresh=True)
            if is_once:
                return
            before, began = now, at
            await asyncio.sleep(interval_s)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/watch-batch", description="Watch the batches of the running server.")
    parser.add_argument("--every", type=float, default=0.5, metavar="SECONDS", help="between two looks (default: 0.5)")
    parser.add_argument("--once", action="store_true", help="one look, and out")
    arguments = parser.parse_args()
    if not running_server():
        sys.stderr.write("No server runs. Start one: scripts/serve\n")
        return 1
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch(max(0.05, arguments.every), is_once=arguments.once))
    return 0


if __name__ == "__main__":
    sys.exit(main())
