"""Functions of many shapes with requests that need them. Every name of a function, a parameter and an option is chosen anew for each conversation."""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.starter.pools import Side, topic_lines
from scripts.starter.values import Value, flag, make

_SYNONYMS = {
    "city": "city|town|location|place|where|city_name",
    "city2": "target|to_place|destination_city|place_to",
    "date": "date|day|on|when|for_date",
    "time": "time|hour|clock|at_time",
    "person": "person|name|who|first_name",
    "fullname": "name|full_name|person_name|customer_name",
    "people": "people|names|persons|members",
    "email": "email|mail|address|email_address|recipient",
    "text": "text|content|body|message|words",
    "topic": "topic|subject|title|about",
    "title": "title|name|called|label",
    "code": "id|number|reference|key|code",
    "product": "product|item|article|product_name",
    "country": "country|nation|land",
    "filename": "file|path|document_name|file_name",
    "image": "image_file|picture|file|path",
    "host": "host|machine|server_name|node",
}
_ASK = {
    "city": "Which city?|For which city?|Which city do you mean?",
    "city2": "To which city?|Where to?",
    "code": "Which number is it?|What is the number?|Can you give me its number?",
    "person": "For whom?|Which person?|Who is it for?",
    "fullname": "What is the full name?|For whom?",
    "email": "Which e-mail address?|What is the address?",
    "date": "On which date?|For which day?",
    "title": "What is its name?|Which one?",
    "country": "Which country?|For which country?",
    "host": "Which server?|Which one do you mean?",
}
_AFFIXES = ("", "", "", "", "", "my_", "crm_", "api_", "app_", "do_", "user_", "svc_", "home_", "x_", "lab_", "v2_")
_BEFORE = (
    "",
    "",
    "",
    "",
    "",
    "",
    "please ",
    "can you ",
    "could you ",
    "hey, ",
    "hi! ",
    "I need you to ",
    "quick: ",
    "ok now ",
    "just ",
    "now ",
    "go on, ",
    "pls ",
    "for the last time, ",
)
_AFTER = ("", "", "", "", "", "", ".", ".", "!", " please", " thanks", " thx", ", and be quick", " asap", " pls", "??", ", ok?")


@dataclass(frozen=True, slots=True)
class Slot:
    name: str
    kind: str
    is_required: bool
    phrases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    nouns: tuple[str, ...]
    verbs: tuple[str, ...]
    description: str
    requests: tuple[str, ...]
    vague: tuple[str, ...]
    slots: tuple[Slot, ...]
    result: str
    answer: str


@dataclass(frozen=True, slots=True)
class Function:
    """One function, as this conversation has it."""

    domain: Domain
    name: str
    description: str
    parameters: dict[str, Any]
    names: dict[str, str] = field(default_factory=dict[str, str])
    """Slot -> parameter."""
    schemas: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    required: frozenset[str] = frozenset()
    """Slots that every request fills."""


@dataclass(frozen=True, slots=True)
class Request:
    said: str
    name: str
    arguments: dict[str, Any]


@functools.cache
def domains(side: Side) -> tuple[Domain, ...]:
    """topics/functions_*.txt, one line a domain:

        nouns | verbs | description | requests; ?vague requests | slots | result => answer

    The nouns and verbs make names. A slot is NAME:KIND, with * when it is required and ~PHRASE when it is said in words of its own ({} is the value, _ a
    space); a flag says both cases: ~yes/no. A request holds the slots that it says itself in braces; a vague one leaves out the first required slot, so that
    one has to ask back. Results hold {#} for a number, {w} for a word, {c} for a code, {t} for a time, {s} for the first argument, {T} for a title; the
    answer repeats them.
    """
    return tuple(_domain(line) for line in topic_lines("functions", side))


def _domain(line: str) -> Domain:
    nouns, verbs, description, requests, slots, result = line.split("|")
    said = [each.strip() for each in requests.split(";")]
    text, _, answer = result.partition("=>")
    return Domain(
        tuple(nouns.split()),
        tuple(verbs.split()),
        description,
        tuple(each for each in said if each and not each.startswith("?")),
        tuple(each[1:] for each in said if each.startswith("?")),
        tuple(_slot(each) for each in slots.split()),
        text.strip(),
        answer.strip(),
    )


def _slot(text: str) -> Slot:
    head, _, phrases = text.partition("~")
    name, _, kind = head.partition(":")
    return Slot(name, kind.rstrip("*"), head.endswith("*"), tuple(phrase.replace("_", " ") for phrase in phrases.split("/") if phrase))


# ── The function ─────────────────────────────────────────────────────────────────────────────────────────────────────


def make_function(domain: Domain, rng: random.Random, side: Side) -> Function:
    """A function of this domain with names, options and a shape of its own."""
    words = [*rng.choice(domain.verbs).split("_"), *rng.choice(domain.nouns).split("_")]
    if rng.random() < 0.2:
        words = words[::-1]
    name = _styled(rng.choice(_AFFIXES).split("_")[:1] + words, rng, ["snake", "snake", "snake", "camel", "dash", "dot", "pascal"])
    slots = [slot for slot in domain.slots if slot.is_required or rng.random() < 0.7]
    if rng.random() < 0.3:
        rng.shuffle(slots)
    style = rng.choice(["snake", "snake", "snake", "camel"])
    names: dict[str, str] = {}
    schemas: dict[str, dict[str, Any]] = {}
    for slot in slots:
        names[slot.name] = _parameter_name(slot, rng, style, set(names.values()))
        schemas[slot.name] = flag(rng).schema if slot.kind == "flag" else make(slot.kind, rng, side).schema
        if rng.random() < 0.3 and "description" not in schemas[slot.name]:
            schemas[slot.name] = {**schemas[slot.name], "description": _described(slot, rng)}
    properties = {names[slot.name]: schemas[slot.name] for slot in slots}
    needed = {slot.name for slot in slots if slot.is_required or rng.random() < 0.15}
    required = [names[slot.name] for slot in slots if slot.name in needed]
    description = domain.description if rng.random() < 0.85 else ""
    return Function(domain, name, description, {"type": "object", "properties": properties, "required": required}, names, schemas, frozenset(needed))


def _parameter_name(slot: Slot, rng: random.Random, style: str, taken: set[str]) -> str:
    options = [slot.name, slot.name, *_SYNONYMS.get(slot.kind, "").split("|"), f"{slot.name}_value", f"the_{slot.name}", f"{slot.name}{rng.randint(1, 9)}"]
    while True:
        name = _styled(rng.choice([each for each in options if each]).split("_"), rng, [style])
        if name not in taken:
            return name
        options.append(f"{slot.name}_{rng.randint(1, 99)}")


def _described(slot: Slot, rng: random.Random) -> str:
    label = slot.name.replace("_", " ")
    return rng.choice((f"The {label}.", f"the {label}", f"{label.capitalize()} of the request.", f"Which {label}."))


def _styled(words: Sequence[str], rng: random.Random, styles: Sequence[str]) -> str:
    words = [word for word in words if word]
    match rng.choice(styles):
        case "camel":
            return words[0] + "".join(word.capitalize() for word in words[1:])
        case "pascal":
            return "".join(word.capitalize() for word in words)
        case "dash":
            return "-".join(words)
        case "dot":
            return "__".join(words)
        case _:
            return "_".join(words)


# ── What is asked of it ──────────────────────────────────────────────────────────────────────────────────────────────


def make_request(function: Function, rng: random.Random, side: Side) -> Request:
    """A request that fills the function's required parameters and some of the others, and the arguments that it means."""
    stem = rng.choice(function.domain.requests)
    inline = set(re.findall(r"\{(\w+)\}", stem))
    values: dict[str, Value] = {}
    phrases: list[str] = []
    for slot in function.domain.slots:
        if slot.name not in function.names or not (slot.name in function.required or slot.name in inline or rng.random() < 0.5):
            if slot.name in inline:  # a request names what this function cannot take
                return make_request(function, rng, side)
            continue
        value = _value(slot, function.schemas[slot.name], rng, side, values)
        values[slot.name] = value
        if slot.name not in inline:
            phrases.append(_phrase(slot, value, rng))
    if len(phrases) > 1 and rng.random() < 0.3:
        rng.shuffle(phrases)
    said = stem.format(**{name: values[name].said for name in inline})
    for phrase in phrases:
        said += f"{rng.choice((' ', ' ', ', '))}{phrase}"
    arguments = {function.names[slot]: values[slot].json for slot in function.names if slot in values}
    return Request(said, function.name, arguments)


def dressed(said: str, rng: random.Random) -> str:
    """With what people say around a request."""
    return rng.choice(_BEFORE) + said + (rng.choice(_AFTER) if not said.endswith(("?", ".", "!")) else "")


def vague_request(function: Function, rng: random.Random) -> tuple[str, str] | None:
    """A request that leaves out the one thing that is needed, and what to ask back; None for a function without one."""
    first = next((slot for slot in function.domain.slots if slot.is_required), None)
    if not function.domain.vague or first is None or first.kind not in _ASK:
        return None
    return rng.choice(function.domain.vague), rng.choice(_ASK[first.kind].split("|"))


def make_result(domain: Domain, request: Request, rng: random.Random) -> tuple[str, str]:
    """What the function gives back, and the answer that it leads to."""
    fills = {
        "#": str(rng.choice((rng.randint(1, 40), rng.randint(2, 900), round(rng.uniform(1, 90), 1)))),
        "w": rng.choice(["sunny", "cloudy", "rainy", "foggy", "windy", "clear", "cold", "warm", "bright", "calm"]),
        "c": f"{rng.choice('ABCDEFGHKLMN')}{rng.choice('PQRSTUVX')}-{rng.randint(100, 9999)}",
        "t": f"{rng.randint(0, 23):02}:{rng.choice((0, 5, 20, 35, 50)):02}",
        "s": next((each for each in request.arguments.values() if isinstance(each, str)), "it"),
        "T": rng.choice(("Morning Bell", "Lemon", "Wild Rose", "Harvest", "The Third Door", "Pumpkin", "Snowfall")),
    }

    def filled(text: str) -> str:
        return re.sub(r"\{(.)\}", lambda found: fills[found[1]], text)

    result = filled(domain.result)
    marks = re.findall(r"\{(.)\}", domain.result)
    if rng.random() < 0.5:
        keys = {"#": "value", "w": "status", "c": "reference", "t": "time", "T": "name", "s": "name"}
        found = {keys[mark]: _number(fills[mark]) if mark == "#" else fills[mark] for mark in marks} or {"status": result}
        result = json.dumps(found if marks and rng.random() < 0.5 else {"ok": True, **found})
    return result, filled(domain.answer)


def _number(text: str) -> float | int:
    return float(text) if "." in text else int(text)


def _value(slot: Slot, schema: dict[str, Any], rng: random.Random, side: Side, others: dict[str, Value]) -> Value:
    """A value that is valid for the schema that the function has."""
    taken = {json.dumps(other.json) for other in others.values()}
    for _ in range(400):
        value = flag(rng) if slot.kind == "flag" else make(slot.kind, rng, side)
        if _fits(value, schema) and (slot.kind in {"flag", "int"} or json.dumps(value.json) not in taken):
            return value
    raise ValueError(f"no value of {slot.kind} fits {schema}")


def _fits(value: Value, schema: dict[str, Any]) -> bool:
    if "enum" in schema:
        return value.json in schema["enum"]
    if schema["type"] == "object":
        return isinstance(value.json, dict) and list(value.json) == list(schema["properties"])
    return value.schema["type"] == schema["type"]


def _phrase(slot: Slot, value: Value, rng: random.Random) -> str:
    if slot.kind == "flag":
        return slot.phrases[0 if value.json else 1]
    if slot.phrases:
        return rng.choice(slot.phrases).format(value.said)
    return {"date": "on {}", "time": "at {}", "city": "in {}", "country": "in {}", "person": "for {}", "url": "{}"}.get(
        slot.kind, f"{slot.name.replace('_', ' ')} {{}}"
    ).format(value.said)


def shape_of(parameters: dict[str, Any]) -> str:
    """The types of a function's parameters without their names: two functions of one shape differ in words only."""
    required = parameters.get("required", [])
    return " ".join(sorted(_type(each) + ("*" if name in required else "") for name, each in parameters["properties"].items()))


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return f"enum{len(schema['enum'])}"
    if schema["type"] == "object":
        return f"{{{' '.join(_type(each) for each in schema['properties'].values())}}}"
    return f"[{_type(schema['items'])}]" if schema["type"] == "array" else schema["type"] + schema.get("format", "")
