"""A row of a bench: one figure, its samples, and what it has to reach."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Row:
    """The median of its samples, and the most (or the least) that it may be."""

    name: str
    unit: str
    target: float | None
    """None: the figure is stated, and nothing is promised."""
    is_floor: bool = False
    """The figure has to be at least the target; otherwise at most."""
    samples: list[float] = field(default_factory=list)
    is_complete: bool = True
    """Every run brought a sample."""

    @property
    def value(self) -> float | None:
        return round(statistics.median(self.samples), 4) if self.samples else None

    @property
    def holds(self) -> bool:
        if not self.is_complete or self.value is None:
            return False
        return self.target is None or (self.value >= self.target if self.is_floor else self.value <= self.target)

    def figure(self) -> dict[str, Any]:
        samples = [round(sample, 4) for sample in self.samples]
        return {"name": self.name, "value": self.value, "unit": self.unit, "target": self.target, "holds": self.holds, "samples": samples}
