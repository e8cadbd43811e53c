"""Writes CONFORMANCE.md: every operation, event and field of the hosted API, and what became of it here. `--check` only says whether the file is stale."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from offline_assistants.api.app import make_api
from offline_assistants.api.ignored_parameters import IGNORED
from offline_assistants.api.openapi import OPERATIONS
from offline_assistants.domain.stream_events import EVENT_NAMES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "CONFORMANCE.md"
CONTRACT: dict[str, Any] = json.loads((ROOT / "tests" / "conformance" / "contract.json").read_text(encoding="utf-8"))
REMARKS: dict[str, Any] = tomllib.loads((ROOT / "tests" / "conformance" / "remarks.toml").read_text(encoding="utf-8"))


def main() -> None:
    page = "\n".join(lines()) + "\n"
    if "--check" in sys.argv:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
            sys.exit("CONFORMANCE.md is stale.  This helps:  scripts/conformance")
        return
    PAGE.write_text(page, encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def lines() -> Iterator[str]:
    document = make_api().openapi()
    ours = {f"{method.upper()} {path.removeprefix('/v1')}": found for path, methods in document["paths"].items() for method, found in methods.items()}
    schemas = document["components"]["schemas"]
    yield REMARKS["head"].strip()
    yield from _suites()
    yield from _operations(ours, schemas)
    yield from _objects(ours, schemas)
    yield from _events()
    yield from _ignored()
    yield from _differences()
    yield from _extensions(ours)


def _suites() -> Iterator[str]:
    yield "\n## Clients and tests that this project did not write\n\n| suite | result |\n|---|---|"
    for each in REMARKS["suites"]:
        yield f"| {each['name']} | {each['result']} |"


def _operations(ours: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    operations: dict[str, Any] = CONTRACT["operations"]
    num_here = sum(place in ours for place in operations)
    yield f"\n## Operations\n\n{num_here} of {len(operations)} are here.\n\n| operation | | state | parameters that are not here |\n|---|---|---|---|"
    for place, theirs in operations.items():
        if place not in ours:
            yield f"| {theirs['name']} | `{place}` | absent | |"
            continue
        gone = [f"`{name}`" for name in _missing_parameters(theirs, ours[place], schemas, IGNORED.get(theirs["name"], {}))]
        ignored = " (some are accepted without effect: see below)" if theirs["name"] in IGNORED else ""
        yield f"| {theirs['name']} | `{place}` | {'differs' if gone else 'same'}{ignored} | {', '.join(gone)} |"


def _missing_parameters(theirs: Mapping[str, Any], ours: Mapping[str, Any], schemas: Mapping[str, Any], ignored: Mapping[str, Any]) -> list[str]:
    query = {each["name"] for each in ours.get("parameters", []) if each["in"] == "query"}
    gone = [name for name in theirs.get("query", []) if name not in query]
    content = next(iter(ours.get("requestBody", {}).get("content", {}).values()), {"schema": {}})
    here = {_plain(path) for path in fields_of(content["schema"], schemas)}
    for path in theirs.get("body", {}):
        is_here = any(each == _plain(path) or each.startswith(f"{_plain(path)}.") for each in here)
        known = is_here or any(_plain(path).startswith(f"{each}.") for each in gone) or path.partition(".")[0].partition("[")[0] in ignored
        if not known and not path.endswith("[]"):
            gone.append(_plain(path))
    return gone


def _plain(path: str) -> str:
    """Forms write `a[b]` for `a.b`."""
    return path.replace("[]", "").replace("[", ".").replace("]", "")


def fields_of(schema: Mapping[str, Any], schemas: Mapping[str, Any], path: str = "", seen: frozenset[str] = frozenset()) -> set[str]:
    """The paths of all fields: `tools[].function.name`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return set() if name in seen else fields_of(schemas[name], schemas, path, seen | {name})
    found: set[str] = set()
    for kind in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(kind, []):
            found |= fields_of(each, schemas, path, seen)
    for name, each in schema.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        found |= {below} | fields_of(each, schemas, below, seen)
    if "items" in schema:
        found |= fields_of(schema["items"], schemas, f"{path}[]", seen)
    return found


def _objects(ours: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    yield "\n## Objects\n\nFields as paths; those of pieces that several objects share are listed with each."
    done: set[str] = set()
    for place, theirs in CONTRACT["operations"].items():
        name = theirs.get("answer") or theirs.get("page_of")
        if name is None or name in done or place not in ours:
            continue
        done.add(name)
        answer = ours[place]["responses"]["200"]["content"]["application/json"]["schema"]
        here = fields_of(answer, schemas)
        if "page_of" in theirs:
            here = {path.removeprefix("data[].") for path in here if path.startswith("data[].")}
        wanted = {path for path in CONTRACT["objects"][name] if not path.endswith("[]")}
        yield f"\n### {name}\n"
        yield f"- same: {_listed(wanted & here)}"
        for title, paths in (("absent", wanted - here), ("extension", here - wanted)):
            if paths:
                yield f"- {title}: {_listed(paths)}"
        for path, remark in sorted(REMARKS["fields"].get(name, {}).items()):
            yield f"- `{path}` differs: {remark}"


def _listed(paths: set[str]) -> str:
    return ", ".join(f"`{path}`" for path in sorted(paths)) or "none"


def _events() -> Iterator[str]:
    yield "\n## Events of a stream\n\n| event | state |\n|---|---|"
    for name in CONTRACT["events"]:
        yield f"| `{name}` | {'same' if name in EVENT_NAMES else 'absent'} |"


def _ignored() -> Iterator[str]:
    yield "\n## Accepted without effect\n\nAn answer to a request that gives one of them names it in the header `x-ignored-parameters`.\n"
    yield "| operation | parameter | why |\n|---|---|---|"
    for operation, parameters in IGNORED.items():
        for name, each in parameters.items():
            yield f"| {operation} | `{name}` | {each.why} |"


def _differences() -> Iterator[str]:
    yield "\n## What differs\n"
    yield from (f"- {each}" for each in REMARKS["differences"])


def _extensions(ours: Mapping[str, Any]) -> Iterator[str]:
    yield "\n## Extensions\n\nWhat the hosted API did not have. Fields are listed with their objects.\n"
    names = {f"{operation.name}": place for place, operation in OPERATIONS.items() if operation.is_extension}
    yield from (f"- `{place}` ({name})" for name, place in names.items())
    yield from (f"- {each}" for each in REMARKS["extensions"])


if __name__ == "__main__":
    main()
