"""The benchmark of the API itself: what a request costs when no model has to think."""

from __future__ import annotations

import subprocess
from typing import ClassVar

import bench_store
import bench_streams
from bench_figures import Row


class ApiBench:
    """What the API costs without a model: durable writes, a store of a million messages, streams. Engine, sandbox and documents are scripted."""

    CLIENTS: ClassVar = {1: 0.6, 8: 0.6, 64: 1.0}
    """By number of clients: the least share of what SQLite brings."""
    STREAMS, OPEN_STREAMS = 50, 200

    def __init__(self) -> None:
        self.inserts = {
            number: Row(f"durable POST message, {number} client{'s' * (number > 1)}, against SQLite", "x", target, is_floor=True)
            for number, target in self.CLIENTS.items()
        }
        self.page = Row("page of 20 messages, p50, 1,000,000 messages against 10,000", "x", 2.0)
        self.retrieve = Row("retrieve a message, p50, 1,000,000 messages against 10,000", "x", 2.0)
        self.events = Row(f"streamed events, {self.STREAMS} connections", "/s", 10_000, is_floor=True)
        self.stall = Row("longest stall of the event loop meanwhile", "ms", 100)
        self.memory = Row(f"server memory for {self.OPEN_STREAMS} open streams", "MB", 200)
        self.rows = [*self.inserts.values(), self.page, self.retrieve, self.events, self.stall, self.memory]

    def measure(self) -> None:
        """One sample of each; what fails keeps nothing else from being measured."""
        failures: list[str] = []
        for part in (self._measure_inserts, self._measure_reads, self._measure_events, self._measure_memory):
            try:
                part()
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                failures.append(str(error))
        if failures:
            raise RuntimeError("\n".join(failures))

    def _measure_inserts(self) -> None:
        for number, ratio in bench_store.measure_inserts(list(self.inserts)).items():
            self.inserts[number].samples.append(ratio)

    def _measure_reads(self) -> None:
        page, retrieve = bench_store.measure_reads()
        self.page.samples.append(page)
        self.retrieve.samples.append(retrieve)

    def _measure_events(self) -> None:
        figures = bench_streams.measure_events(num_streams=self.STREAMS)
        self.events.samples.append(figures.events_per_s)
        self.stall.samples.append(figures.longest_stall_ms)

    def _measure_memory(self) -> None:
        self.memory.samples.append(bench_streams.measure_memory(num_streams=self.OPEN_STREAMS))
