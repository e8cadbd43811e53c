"""What a check finds: good, worth a remark, or broken, with the cure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    """What was looked at, in a word or two."""
    level: Level
    """"warn": something that can be done without is missing. "fail": the server, or a model, does not work."""
    says: str
    cure: str | None = None
    """A command, or what else is to be done; None where nothing is wrong."""


def ok(name: str, says: str) -> Finding:
    return Finding(name, "ok", says)


def warn(name: str, says: str, cure: str) -> Finding:
    return Finding(name, "warn", says, cure)


def fail(name: str, says: str, cure: str) -> Finding:
    return Finding(name, "fail", says, cure)
