"""What is asked about tables, and the programs that answer it. Programs are run when the data is made, so what they print is what pandas prints."""

from __future__ import annotations

import contextlib
import functools
import io
import random
import re
import tempfile
import tomllib
import traceback
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.starter.pools import TOPICS_DIR, Side
from scripts.starter.tables import Column, Table, make_table

VALUE_FRAMES = [
    "what is {p}?",
    "{p}?",
    "give me {p}",
    "tell me {p}",
    "whats {p}",
    "I need {p}",
    "calculate {p}",
    "compute {p} please",
    "can you work out {p}?",
    "show me {p}",
    "find {p}",
    "{p} pls",
    "What's {p} in {f}?",
    "from {f} I want {p}",
    "Look at {f}: {p}?",
    "please find out {p}",
    "{p}, according to the file",
    "hey, {p}?",
    "just {p}",
    "I want to know {p}.",
]
ACTION_FRAMES = [
    "{p}",
    "please {p}",
    "can you {p}?",
    "{p} pls",
    "I need you to {p}",
    "hey, {p}",
    "{p}, thanks",
    "could you {p}",
    "take {f} and {p}",
    "with {f}: {p}",
    "{p} asap",
    "now {p}",
]


@dataclass(frozen=True, slots=True)
class Operation:
    """Fields in phrases and code: {n} {m} numbers, {c} {d} categories, {v} {w} values of c, {k} a number, {date}, {label}; "
    "capitals are a column's quoted name."""

    phrases: tuple[str, ...]
    code: str
    answer: str
    """{o} is what was printed, {p} what was asked."""
    needs: str = ""
    """Of n m c w: what is needed of the table."""
    is_action: bool = False


@functools.cache
def operations() -> tuple[Operation, ...]:
    """topics/operations.toml."""
    listed = tomllib.loads((TOPICS_DIR / "operations.toml").read_text(encoding="utf-8"))["operations"]
    return tuple(Operation(tuple(each.pop("phrases").split("|")), **each) for each in listed)


Run = Callable[[str, Sequence[Table]], str]
"""Runs a program beside these tables; what the sandbox would show for it."""


@dataclass(frozen=True, slots=True)
class Question:
    said: str
    code: str
    output: str
    answer: str
    table: Table


def read_line(table: Table) -> str:
    return f"import pandas as pd\ndf = {_read(table)}\n"


def _read(table: Table) -> str:
    reader = {"csv": "read_csv", "json": "read_json", "xlsx": "read_excel"}[table.file.rpartition(".")[2]]
    separator = f', sep="{table.delimiter}"' if reader == "read_csv" and table.delimiter != "," else ""
    return f'pd.{reader}("{table.path}"{separator})'


def make_question(table: Table, rng: random.Random, run: Run) -> Question:
    """A question about the table with the program that answers it, run."""
    while True:
        operation = rng.choice(operations())
        if "m" not in operation.needs or len(table.numbers) > 1:
            break
    fields = _fields(table, rng)
    phrase = rng.choice(operation.phrases).format(**fields)
    frame = rng.choice(ACTION_FRAMES if operation.is_action else VALUE_FRAMES)
    code = read_line(table) + operation.code.format(**fields)
    output = run(code, [table])
    answer = operation.answer.replace("{l}", _listed(output)).replace("{o}", output).format(**fields)
    return Question(frame.format(p=phrase, f=table.file), code, output, answer, table)


def _fields(table: Table, rng: random.Random) -> dict[str, str]:
    n, m = (*rng.sample(table.numbers, 2),)
    c = rng.choice(table.categories)
    present = sorted({str(row[table.columns.index(c)]) for row in table.rows})
    v, w = rng.sample(present if len(present) > 1 else sorted({*present, *c.values[:2]}), 2)
    numbers = sorted(float(row[table.columns.index(n)]) for row in table.rows)
    out = f"{rng.choice(('result', 'out', 'part', 'selected', 'new', 'sorted', 'output'))}{rng.choice(('', '1', '_2', f'_{table.label.said}'))}.csv"
    said = {"n": _said(n, rng), "m": _said(m, rng), "c": _said(c, rng), "date": _said(table.date, rng), "label": _said(table.label, rng)}
    quoted = {"N": n.name, "M": m.name, "C": c.name, "DATE": table.date.name, "LABEL": table.label.name, "V": v, "W": w, "OUT": f"/mnt/data/{out}"}
    more = {"v": v, "w": w, "k": f"{numbers[len(numbers) // 2]:g}", "t": str(rng.randint(2, 4)), "year": str(table.rows[0][-1])[:4], "out": out}
    return {**said, **more, **{key: f'"{name}"' for key, name in quoted.items()}}


def _said(column: Column, rng: random.Random) -> str:
    """Half of the people say a column's name as the file has it."""
    return rng.choice((column.name, column.said, column.said.lower(), column.name.lower()))


def _listed(output: str) -> str:
    """A printed dictionary or list as people write it."""
    return re.sub(r"[{}\[\]']", "", output).replace(": ", " ")


# ── Running ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def run_here(code: str, tables: Sequence[Table]) -> str:
    """What the sandbox would show for this program: what it prints, or its traceback, then what it saved."""
    with tempfile.TemporaryDirectory(prefix="starter-") as folder:
        for table in tables:
            _write(table, Path(folder))
        known = set(Path(folder).iterdir())
        text, num_figures = _execute(code.replace("/mnt/data/", f"{folder}/"))
        saved = sorted(path.name for path in Path(folder).iterdir() if path not in known)
    lines = [text.replace(f"{folder}/", "/mnt/data/").rstrip("\n")] if text else []
    lines += ["[an image was shown to the user]"] * num_figures
    lines += [f"[file saved: /mnt/data/{name}]" for name in saved]
    return "\n".join(lines) or "(no output)"


def _write(table: Table, folder: Path) -> None:
    if table.file.endswith(".xlsx"):
        import pandas as pd

        pd.DataFrame(table.rows, columns=[column.name for column in table.columns]).to_excel(folder / table.file, index=False)
    else:
        (folder / table.file).write_bytes(table.content())


class _Pictures(types.ModuleType):
    """Stands for matplotlib.pyplot, which would take a tenth of a second for each picture: only what is saved matters here."""

    def __init__(self) -> None:
        super().__init__("matplotlib.pyplot")
        self.num_figures = 0

    def savefig(self, path: str) -> None:
        Path(path).write_bytes(b"")
        self.num_figures = 1


def _execute(code: str) -> tuple[str, int]:
    pictures = _Pictures()
    drawn = re.sub(r"\.plot(\.\w+)?\(.*\)", "", code).replace("import matplotlib.pyplot as plt\n", "")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            exec(compile(drawn, "<cell 1>", "exec"), {"plt": pictures, "__name__": "__main__"})
        except Exception as error:  # noqa: BLE001 - any error of a program is its output
            return printed.getvalue() + _report(error, code), 0
    return printed.getvalue(), pictures.num_figures


def _report(error: Exception, code: str) -> str:
    """As the sandbox shortens it: the program's own lines, and the error."""
    lines = ["Traceback (most recent call last):"]
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == "<cell 1>" and frame.lineno:
            lines += [f'  File "<cell 1>", line {frame.lineno}, in <module>', f"    {code.splitlines()[frame.lineno - 1].strip()}"]
    return "\n".join([*lines, "".join(traceback.format_exception_only(error)).rstrip("\n")])


# ── Programs without a table ─────────────────────────────────────────────────────────────────────────────────────────

_Made = tuple[str, str, str]
"""What is asked, the program, the answer with {o}."""


def make_calculation(rng: random.Random) -> _Made:
    """Something to compute that needs no file: what is asked, the program, and the answer to give."""
    return rng.choice(_CALCULATIONS)(rng)


def _interest(rng: random.Random) -> _Made:
    amount, rate, years = rng.randint(1, 90) * 100, rng.choice((1, 1.5, 2, 2.5, 3, 4, 5, 7)), rng.randint(2, 30)
    said = rng.choice(
        (
            "what do {a} euros become in {y} years at {r} percent interest?",
            "compound interest: {a} at {r}% for {y} years",
            "I save {a} for {y} years at {r}%. How much is it then?",
        )
    )
    return said.format(a=amount, r=rate, y=years), f"print(round({amount} * (1 + {rate} / 100) ** {years}, 2))", "It becomes {o}."


def _primes(rng: random.Random) -> _Made:
    top = rng.randint(20, 400)
    said = rng.choice(("how many primes are there below {n}?", "count the prime numbers under {n}", "number of primes smaller than {n}"))
    code = f"primes = [n for n in range(2, {top}) if all(n % d for d in range(2, int(n ** 0.5) + 1))]\nprint(len(primes))"
    return said.format(n=top), code, f"There are {{o}} primes below {top}."


def _days(rng: random.Random) -> _Made:
    first, last = (
        f"{rng.randint(2001, 2015)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
        f"{rng.randint(2016, 2027)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
    )
    said = rng.choice(("how many days are between {a} and {b}?", "days from {a} to {b}", "number of days between {a} and {b} pls"))
    return (
        said.format(a=first, b=last),
        f'from datetime import date\nprint((date.fromisoformat("{last}") - date.fromisoformat("{first}")).days)',
        "There are {o} days between them.",
    )


def _weekday(rng: random.Random) -> _Made:
    day = f"{rng.randint(1990, 2030)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    said = rng.choice(("what weekday is {d}?", "which day of the week was {d}", "{d} - is that a monday or what?", "weekday of {d}?"))
    return said.format(d=day), f'from datetime import date\nprint(date.fromisoformat("{day}").strftime("%A"))', "It is a {o}."


def _product(rng: random.Random) -> _Made:
    a, b = rng.randint(112, 99999), rng.randint(12, 9999)
    sign, word = rng.choice((("*", "times"), ("+", "plus"), ("-", "minus"), ("/", "divided by"), ("%", "modulo")))
    said = rng.choice(("what is {a} {w} {b}?", "{a} {s} {b}", "compute {a} {w} {b}", "calc {a} {s} {b} pls", "{a} {w} {b} exactly?"))
    return said.format(a=a, b=b, s=sign, w=word), f"print({a} {sign} {b})", "The result is {o}."


def _mean(rng: random.Random) -> _Made:
    numbers = [rng.randint(1, 999) for _ in range(rng.randint(3, 9))]
    name, code = rng.choice(
        (
            ("mean", "sum(n) / len(n)"),
            ("average", "sum(n) / len(n)"),
            ("sum", "sum(n)"),
            ("largest", "max(n)"),
            ("smallest", "min(n)"),
            ("range", "max(n) - min(n)"),
        )
    )
    said = rng.choice(("what is the {w} of {n}?", "{w} of {n}", "the {w} of these numbers: {n}", "give me the {w} of {n}"))
    return said.format(w=name, n=", ".join(map(str, numbers))), f"n = {numbers}\nprint({code})", f"The {name} is {{o}}."


def _sort(rng: random.Random) -> _Made:
    numbers = [rng.randint(1, 999) for _ in range(rng.randint(4, 9))]
    down = rng.random() < 0.4
    said = rng.choice(("sort {n}", "sort these: {n}", "put {n} in order", "order the numbers {n}")).format(n=", ".join(map(str, numbers))) + (
        " descending" if down else ""
    )
    return said, f"print(sorted({numbers}{', reverse=True' if down else ''}))", "Sorted: {l}."


def _letters(rng: random.Random) -> _Made:
    word = "".join(rng.choices("abcdefghilmnoprstu", k=rng.randint(6, 14)))
    letter = rng.choice(word)
    choice = rng.randint(0, 2)
    said = (f"how many letters has {word}?", f"spell {word} backwards", f"how often is the letter {letter} in {word}?")[choice]
    code = (f'print(len("{word}"))', f'print("{word}"[::-1])', f'print("{word}".count("{letter}"))')[choice]
    return said, code, ("It has {o} letters.", "Backwards it is {o}.", "It is there {o} times.")[choice]


def _percent(rng: random.Random) -> _Made:
    part, whole = rng.randint(1, 99), rng.randint(20, 9000)
    said = rng.choice(("what is {p}% of {w}?", "{p} percent of {w}", "how much is {p}% of {w}"))
    return said.format(p=part, w=whole), f"print(round({whole} * {part} / 100, 2))", "It is {o}."


def _power(rng: random.Random) -> _Made:
    a, b = rng.randint(2, 30), rng.randint(3, 25)
    options = (
        (f"what is {a} to the power of {b}?", f"print({a} ** {b})"),
        (f"factorial of {b}", f"import math\nprint(math.factorial({b}))"),
        (f"square root of {a * 37}", f"import math\nprint(round(math.sqrt({a * 37}), 4))"),
    )
    said, code = rng.choice(options)
    return said, code, "It is {o}."


def _divisor(rng: random.Random) -> _Made:
    a, b = rng.randint(12, 900), rng.randint(12, 900)
    name, said = rng.choice((("gcd", "greatest common divisor"), ("lcm", "least common multiple")))
    return f"{said} of {a} and {b}", f"import math\nprint(math.{name}({a}, {b}))", f"The {said} is {{o}}."


_CALCULATIONS: tuple[Callable[[random.Random], _Made], ...] = (
    _interest,
    _primes,
    _days,
    _weekday,
    _product,
    _product,
    _mean,
    _mean,
    _sort,
    _letters,
    _percent,
    _power,
    _divisor,
)


def calculation(rng: random.Random, run: Run) -> Question:
    said, code, answer = make_calculation(rng)
    output = run(code, [])
    return Question(said, code, output, answer.replace("{o}", output).replace("{l}", _listed(output)), _NO_TABLE)


_NOTHING = Column("", "")
_NO_TABLE = Table("", _NOTHING, (), (), _NOTHING, ())


def broken(question: Question, rng: random.Random, run: Run) -> tuple[str, str] | None:
    """The program with a mistake that people and models make, and the traceback; None where this one has no room for it."""
    names = [column.name for column in question.table.columns if f'"{column.name}"' in question.code]
    if not names:
        return None
    name = rng.choice(names)
    wrong = rng.choice((name.lower(), name.upper(), name.title(), name + "s", name.replace("_", ""), name.replace(" ", "_"), f"{name}_m"))
    code = question.code.replace(f'"{name}"', f'"{wrong}"')
    output = run(code, [question.table]) if wrong != name else ""
    return (code, output) if "Traceback" in output else None


def joined(rng: random.Random, side: Side, run: Run) -> tuple[Question, Table]:
    """A question that needs two files: a table, and a list of its categories."""
    table = make_table(rng, side)
    c, n = rng.choice(table.categories), rng.choice(table.numbers)
    kinds = ("group", "zone", "class", "band", "tier", "section")
    kind = Column(
        rng.choice([each for each in kinds if each not in {column.said for column in table.columns}]) + rng.choice(("", "_id", "_name", "_x")), "group"
    )
    groups = rng.sample(("A", "B", "C", "red", "blue", "inner", "outer", "first", "second"), 2)
    words = rng.choice(("groups", "lookup", "mapping", "zones", "classes", "keys")) + rng.choice(("", "_2", "_new", "_list"))
    other = Table(f"{words}.csv", c, (), (), kind, tuple((value, groups[i % 2]) for i, value in enumerate(c.values)))
    verb, word = rng.choice((("mean", "average"), ("sum", "total"), ("max", "highest")))
    said = rng.choice(
        (f"the {word} {n.said} per {kind.name}", f"{word} {n.name} by {kind.name}", f"join the files and give me the {word} {n.said} for each {kind.name}")
    )
    code = (
        f'import pandas as pd\ndf = {_read(table)}.merge({_read(other)}, on="{c.name}")\n'
        f'print(df.groupby("{kind.name}")["{n.name}"].{verb}().round(2).to_dict())'
    )
    output = run(code, [table, other])
    answer = f"The {word} {n.said} by {kind.name}: {_listed(output)}."
    return Question(rng.choice(VALUE_FRAMES).format(p=said, f=table.file) if not said.startswith("join") else said, code, output, answer, table), other
