"""`doctor`: what is missing or broken on this machine, and the command that mends it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from offline_assistants.cli.terminal import EXIT_WARNINGS, AsJson, console, give_up, show_json, status
from offline_assistants.settings import Settings

if TYPE_CHECKING:
    from offline_assistants.doctor.finding import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def examine(
    *, as_json: AsJson = False, quick: Annotated[bool, typer.Option("--quick", help="Leave out what starts processes: sandbox and egress.")] = False
) -> None:
    """Look at everything that the server needs, and say for each fault the command that mends it.

    Exit code 0: all is well. 3: something that can be done without is missing. 1: something is broken.
    """
    found: list[Finding] = []
    with status("examining this machine"):
        for finding in _findings(quick=quick):
            found.append(finding)
            if not as_json:
                _show(finding)
    if as_json:
        show_json([asdict(finding) for finding in found])
    broken = [finding.name for finding in found if finding.level == "fail"]
    if broken:
        give_up(f"This is broken: {', '.join(dict.fromkeys(broken))}. What mends it stands above.")
    if any(finding.level == "warn" for finding in found):
        raise SystemExit(EXIT_WARNINGS)


def _findings(*, quick: bool) -> Iterator[Finding]:
    # The whole server comes with it; --help shall not wait for it.
    from offline_assistants.doctor import checks
    from offline_assistants.doctor.egress import check_egress

    logging.getLogger().addHandler(logging.NullHandler())  # what parts of a server remark meanwhile, a finding says better
    patient = checks.Patient.of(Settings())
    yield from checks.all_findings(patient, quick=quick)
    if not quick:
        yield checks.guarded("egress", lambda: asyncio.run(check_egress(patient.settings)))


def _show(finding: Finding) -> None:
    console.print(Text.assemble((f"{finding.level:5}", _COLOURS[finding.level]), f"{finding.name}: {finding.says}"), soft_wrap=True)
    if finding.cure:
        console.print(Text(f"       {finding.cure}", style="bold"), soft_wrap=True)
