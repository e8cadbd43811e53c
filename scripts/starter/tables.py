"""Tables of many topics and programs that answer questions about them. Every column and file gets a name of its own for each conversation."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import random
from dataclasses import dataclass

from offline_assistants.runs.table_columns import Columns
from scripts.starter.pools import Side, topic_lines

_SUFFIXES = ("", "", "", "", "", "_value", "_1", "_total", "_x", "_nr", "_raw", "_2024", "_avg", "_net")


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    """As in the file."""
    said: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    file: str
    label: Column
    categories: tuple[Column, ...]
    numbers: tuple[Column, ...]
    date: Column
    rows: tuple[tuple[str | float, ...], ...]
    delimiter: str = ","

    @property
    def path(self) -> str:
        return f"/mnt/data/{self.file}"

    @property
    def columns(self) -> tuple[Column, ...]:
        return (self.label, *self.categories, *self.numbers, self.date)

    @property
    def told(self) -> Columns:
        """What the product tells of its columns."""
        return Columns(tuple(column.name for column in self.columns), self.delimiter) if self.file.endswith(".csv") else Columns()

    def content(self) -> bytes:
        """The file, for endings csv and json."""
        names = [column.name for column in self.columns]
        if self.file.endswith(".json"):
            return json.dumps([dict(zip(names, row, strict=True)) for row in self.rows]).encode()
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self.delimiter, lineterminator="\n")
        writer.writerows([names, *self.rows])
        return text.getvalue().encode()


def topics(side: Side) -> list[str]:
    """topics/tables_*.txt, one line a topic: names of files | categories, each NAME=VALUES | numbers, each NAME:LOW-HIGH:DIGITS | a date."""
    return topic_lines("tables", side)


def make_table(rng: random.Random, side: Side, *, endings: tuple[str, ...] = ("csv",)) -> Table:
    """A table of a topic of this side, with names, columns and values of its own."""
    files, categories, numbers, date = rng.choice(topics(side)).split("|")
    style = rng.choice(["plain", "plain", "plain", "upper", "title", "spaced", "camel"])
    stem = rng.choice(files.split()) + rng.choice(
        ("", "", "", f"_{rng.randint(2015, 2026)}", f"{rng.randint(1, 99)}", "-final", "_export", "_q" + str(rng.randint(1, 4)))
    )
    taken: set[str] = set()

    def column(base: str, values: tuple[str, ...] = ()) -> Column:
        while True:
            name = _styled(base + rng.choice(_SUFFIXES), style)
            if name not in taken:
                taken.add(name)
                return Column(name, base.replace("_", " "), values)

    label = column(rng.choice(("name", "id", "label", "no", "ref")))
    cats = [each.partition("=") for each in categories.split(";")]
    chosen_cats = tuple(column(name, tuple(values.split(","))) for name, _, values in rng.sample(cats, rng.randint(1, len(cats))))
    nums = [each.split(":") for each in rng.sample(numbers.split(";"), rng.randint(2, 3))]
    chosen_nums = tuple(column(name) for name, _, _ in nums)
    day = column(date)
    rows: list[tuple[str | float, ...]] = []
    start = dt.date(rng.randint(2018, 2024), 1, 1)
    for i in range(rng.randint(6, 24)):
        numbers_of_row = [_number(bounds, int(digits), rng) for _, bounds, digits in nums]
        on = start + dt.timedelta(days=rng.randint(0, 700))
        rows.append((f"{stem[0].upper()}{i + 1:02}", *(rng.choice(each.values) for each in chosen_cats), *numbers_of_row, on.isoformat()))
    return Table(f"{stem}.{rng.choice(endings)}", label, chosen_cats, chosen_nums, day, tuple(rows), rng.choice(",,,,,,;"))


def _number(bounds: str, digits: int, rng: random.Random) -> float:
    low, high = bounds.rsplit("-", 1)
    value = round(rng.uniform(float(low), float(high)), digits)
    return value if digits else int(value)


def _styled(name: str, style: str) -> str:
    match style:
        case "upper":
            return name.upper()
        case "title":
            return name.replace("_", " ").title().replace(" ", "_")
        case "spaced":
            return name.replace("_", " ").capitalize()
        case "camel":
            first, *more = name.split("_")
            return first + "".join(word.capitalize() for word in more)
        case _:
            return name
