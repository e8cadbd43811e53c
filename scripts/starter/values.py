"""Values that requests mention: each with its JSON schema, as JSON, and as people say it."""

from __future__ import annotations

import datetime as dt
import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.starter.pools import CITIES, COUNTRIES, FIRST_NAMES, ITEM_LISTS, LAST_NAMES, PRODUCTS, TEXTS, TOPICS, Pool, Side, pool

_TITLES = pool(
    "Blue River|The Long Way Home|Golden Lantern|Silent Harbor|Casa Verde|Winter Sun|Old Mill|Night Train|Red Balloon|Crystal Lake|Little Italy|Stone Garden|"
    "Morning Light|The Last Page|Green Valley|Paper Moon|Iron Horse|White Rabbit|Seven Hills|Falling Leaves",
    "Amber Road|The Quiet Field|Copper Kettle|Violet Hour|Northern Crown|Salt and Smoke|Hollow Oak|Distant Drums|Marble Arch|Starling",
)
_WORDS = pool(
    "alpha|bridge|cactus|dolphin|ember|falcon|granite|harvest|island|jungle|kernel|ladder|magnet|nectar|orbit|pepper|quartz|ribbon|saturn|timber|umbra|"
    "violet|walnut|yellow|zenith",
    "anvil|bramble|cobalt|dynamo|estuary|fjord|gazelle|hazel|indigo|juniper|krill|lagoon|mosaic|nimbus",
)
_ENUMS_TRAIN = (
    "temperature: celsius,fahrenheit,kelvin; priority: low,normal,high,urgent; language: english,german,french,spanish,italian,japanese; "
    "currency: USD,EUR,GBP,JPY,CHF; "
    "currency2: NOK,SEK,CAD,AUD,INR; cabin: economy,business,first; transport: car,bus,bike,train,foot; frequency: hourly,daily,weekly,monthly,yearly;"
    "room: kitchen,bathroom,bedroom,hallway,office; colour: red,green,blue,white,black,orange; genre: comedy,drama,horror,action,romance; "
    "size: small,medium,large; "
    "role: admin,editor,viewer,guest; backup: full,incremental,differential; loglevel: debug,info,warning,error; metric: cpu,memory,disk,network;"
    "distance: km,miles,metres; length: feet,inches,yards; length2: cm,mm,metre; level: beginner,intermediate,advanced;"
    "doctor: dentist,surgeon,dermatologist,pediatrician; insurance: public,private; leave: holiday,sick leave,parental leave;"
    "expense: travel,food,hotel,office supplies,software; department: sales,marketing,finance,legal,support; picture: png,jpg,svg; document: pdf,docx,html,txt;"
    "door: front door,garage door,back door,cellar door; dooraction: open,lock,unlock; plan: basic,pro,enterprise,free; channel: sms,email,phone,push;"
    "style: formal,casual,funny,poetic; chart: bar,line,pie,scatter; animal: dog,cat,rabbit,parrot; sport: football,hockey,basketball,tennis;"
    "crop: wheat,barley,potatoes,corn; paper: A4,A3,letter; clock: 12 hour,24 hour; environment: staging,production,testing"
)
_ENUMS_HELD_OUT = (
    "kp: planetary,local,polar; inspection: quick,thorough,seasonal; filter: hydrogen,oxygen,luminance; wing: east,west,atrium; "
    "piste: easy,moderate,expert,freeride; "
    "depth: bitonal,greyscale,deep colour; throttle: icing,noise,bats,grid overload; dogfood: kibble,raw meat,tinned; weave: herringbone,twill,damask,gingham;"
    "yarn: linen,cashmere,hemp; datum: chart datum,mean sea level; closure: cork,screw cap,glass stopper; tonguelang: latin,finnish,swahili,welsh;"
    "agent: chlorine,magnesium,bicarbonate"
)


def _enums(text: str) -> dict[str, tuple[str, ...]]:
    return {name.strip(): tuple(options.strip().split(",")) for name, _, options in (each.partition(":") for each in text.split(";"))}


ENUMS = {**_enums(_ENUMS_TRAIN), **_enums(_ENUMS_HELD_OUT)}
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]


@dataclass(frozen=True, slots=True)
class Value:
    schema: dict[str, Any]
    json: Any
    said: str


Maker = Callable[[random.Random, Side], Value]


def options(side: Side) -> list[str]:
    """The options of every enum of this side."""
    return [option for each in _enums(_ENUMS_TRAIN if side == "train" else _ENUMS_HELD_OUT).values() for option in each]


def make(kind: str, rng: random.Random, side: Side) -> Value:
    """A value of a kind, with its schema as this conversation's function has it."""
    name, _, argument = kind.partition(".")
    match name:
        case "int":
            low, high = map(int, argument.split("-"))
            number = rng.randint(low, high)
            said = NUMBER_WORDS[number] if 1 < number <= 12 and rng.random() < 0.2 else str(number)
            bounds = {"minimum": low, "maximum": high} if rng.random() < 0.25 else {}
            return Value({"type": "integer", **bounds}, number, said)
        case "number":
            low, high = map(int, argument.split("-"))
            number = rng.choice((float(rng.randint(low, high)), round(rng.uniform(low, high), 1), round(rng.uniform(low, high), 2)))
            number = int(number) if number == int(number) else number
            return Value({"type": "number"}, number, str(number))
        case "enum":
            return _enum(argument, rng)
        case _:
            return _MAKERS[name](rng, side)


def _enum(name: str, rng: random.Random) -> Value:
    options = list(ENUMS[name])
    rng.shuffle(options)
    options = options[: rng.randint(2, len(options))] if len(options) > 2 else options
    style = rng.choice((str, str, str, str.upper, str.title))
    joiner = rng.choice(("_", "_", "-", " "))
    initials = {option: option[0].upper() for option in options}
    if rng.random() < 0.12 and len(set(initials.values())) == len(options):
        chosen = rng.choice(options)
        return Value({"type": "string", "enum": list(initials.values())}, initials[chosen], chosen)
    written = {option: style(option).replace(" ", joiner) if len(option) > 3 or style is str else option for option in options}
    chosen = rng.choice(options)
    return Value({"type": "string", "enum": list(written.values())}, written[chosen], chosen)


def flag(rng: random.Random) -> Value:
    value = rng.random() < 0.5
    return Value({"type": "boolean"}, value, "yes" if value else "no")


def _text(words: Pool) -> Maker:
    def maker(rng: random.Random, side: Side) -> Value:
        word = words.pick(rng, side)
        return Value({"type": "string"}, word, word)

    return maker


def _pattern(make_text: Callable[[random.Random, Side], str]) -> Maker:
    def maker(rng: random.Random, side: Side) -> Value:
        text = make_text(rng, side)
        return Value({"type": "string"}, text, text)

    return maker


def _several(words: Pool, low: int, high: int) -> Maker:
    def maker(rng: random.Random, side: Side) -> Value:
        chosen = rng.sample(words.of(side), rng.randint(low, high))
        return Value({"type": "array", "items": {"type": "string"}}, chosen, listed(chosen))

    return maker


def listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _day(rng: random.Random) -> dt.date:
    return dt.date(2024, 1, 1) + dt.timedelta(days=rng.randint(0, 1400))


def _said_day(day: dt.date, rng: random.Random) -> str:
    month = MONTHS[day.month - 1]
    return rng.choice(
        (day.isoformat(), day.isoformat(), f"{day.day} {month} {day.year}", f"{month} {day.day}, {day.year}", f"{day.day} {month[:3]} {day.year}")
    )


def _date(rng: random.Random, side: Side) -> Value:
    day = _day(rng)
    schema = {"type": "string", "format": "date"} if rng.random() < 0.75 else {"type": "string", "description": "YYYY-MM-DD"}
    return Value(schema, day.isoformat(), _said_day(day, rng))


def _time(rng: random.Random, side: Side) -> Value:
    hour, minute = rng.randint(0, 23), rng.choice((0, 0, 15, 30, 45))
    written = f"{hour:02}:{minute:02}"
    clock = f"{hour % 12 or 12}{f':{minute:02}' if minute else ''} {'am' if hour < 12 else 'pm'}"
    description = rng.choice(("HH:MM", "24 hours, HH:MM", "e.g. 18:30"))
    schema = {"type": "string", "description": description} if rng.random() < 0.7 else {"type": "string", "format": "time"}
    return Value(schema, written, rng.choice((written, written, clock)))


def _range(rng: random.Random, side: Side) -> Value:
    first = _day(rng)
    last = first + dt.timedelta(days=rng.randint(1, 20))
    keys = rng.choice((("from", "to"), ("start", "end"), ("first_day", "last_day"), ("begin", "until")))
    day = {"type": "string", "format": "date"}
    schema = {"type": "object", "properties": dict.fromkeys(keys, day), "required": list(keys)}
    style = rng.random()
    said = [first.isoformat(), last.isoformat()] if style < 0.5 else [f"{each.day} {MONTHS[each.month - 1]} {each.year}" for each in (first, last)]
    return Value(schema, dict(zip(keys, (first.isoformat(), last.isoformat()), strict=True)), rng.choice(("{} to {}", "{} until {}")).format(*said))


def _address(rng: random.Random, side: Side) -> Value:
    street = (
        f"{rng.choice(('Main', 'Mill', 'Church', 'Park', 'Station', 'Lake', 'Queen', 'Forest'))} {rng.choice(('Street', 'Road', 'Lane'))} {rng.randint(1, 180)}"
    )
    city = CITIES.pick(rng, side)
    if rng.random() < 0.3:
        return Value({"type": "string"}, f"{street}, {city}", f"{street}, {city}")
    keys = rng.choice((("street", "city"), ("line1", "town"), ("street", "place")))
    schema = {"type": "object", "properties": {key: {"type": "string"} for key in keys}, "required": list(keys)}
    return Value(schema, dict(zip(keys, (street, city), strict=True)), rng.choice((f"{street}, {city}", f"{street} in {city}")))


def _whole_numbers(low: int, high: int, least: int, most: int) -> Maker:
    def maker(rng: random.Random, side: Side) -> Value:
        numbers = [rng.randint(low, high) for _ in range(rng.randint(least, most))]
        return Value(
            {"type": "array", "items": {"type": "integer"}},
            numbers,
            rng.choice((", ", " ")).join(map(str, numbers)) if len(numbers) > 2 else listed([*map(str, numbers)]),
        )

    return maker


def _rooms(rng: random.Random, side: Side) -> Value:
    options = list(ENUMS["room"])
    chosen = rng.sample(options, rng.randint(1, 3))
    return Value({"type": "array", "items": {"type": "string", "enum": options}}, chosen, listed(chosen))


def _email(rng: random.Random, side: Side) -> str:
    return f"{FIRST_NAMES.pick(rng, side).lower()}.{LAST_NAMES.pick(rng, side).lower()}@{_WORDS.pick(rng, side)}.{rng.choice(('com', 'org', 'net', 'example'))}"


def _code(rng: random.Random, side: Side) -> str:
    letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(1, 3)))
    return rng.choice((f"{letters}-{rng.randint(10, 99999)}", f"{letters}{rng.randint(10, 9999)}", str(rng.randint(1000, 999999)), f"#{rng.randint(10, 9999)}"))


_FILE_WORDS = pool(
    "report|invoice|notes|budget|minutes|contract|slides|summary|plan|letter|draft|agenda|survey|receipt|poster",
    "ledger|blueprint|manifest|dossier|syllabus|logbook",
)


def _file(*endings: str) -> Callable[[random.Random, Side], str]:
    def make_text(rng: random.Random, side: Side) -> str:
        word = _FILE_WORDS.pick(rng, side)
        return f"{word}{rng.choice(('', f'_{rng.randint(1, 99)}', f'-{_WORDS.pick(rng, side)}', f'_{rng.randint(2019, 2027)}'))}.{rng.choice(endings)}"

    return make_text


def _host(rng: random.Random, side: Side) -> str:
    return rng.choice((f"{rng.choice(('web', 'db', 'app', 'mail', 'cache'))}-{rng.randint(1, 30):02}", f"{_WORDS.pick(rng, side)}-{rng.randint(1, 9)}"))


def _url(rng: random.Random, side: Side) -> str:
    return f"https://{rng.choice(('', 'www.', 'api.'))}{_WORDS.pick(rng, side)}.{rng.choice(('com', 'org', 'net'))}{rng.choice(('', '/', '/news', '/status'))}"


_MAKERS: dict[str, Maker] = {
    "city": _text(CITIES),
    "city2": _text(CITIES),
    "country": _text(COUNTRIES),
    "person": _text(FIRST_NAMES),
    "fullname": _pattern(lambda rng, side: f"{FIRST_NAMES.pick(rng, side)} {LAST_NAMES.pick(rng, side)}"),
    "people": _several(FIRST_NAMES, 1, 4),
    "email": _pattern(_email),
    "phone": _pattern(lambda rng, _: f"+{rng.randint(1, 98)} {rng.randint(100, 999)} {rng.randint(1000, 999999)}"),
    "date": _date,
    "time": _time,
    "range": _range,
    "topic": _text(TOPICS),
    "text": _text(TEXTS),
    "title": _text(_TITLES),
    "word": _text(_WORDS),
    "code": _pattern(_code),
    "product": _text(PRODUCTS),
    "products": _several(PRODUCTS, 1, 3),
    "items": _several(ITEM_LISTS, 1, 5),
    "labels": _several(_WORDS, 1, 3),
    "ticker": _pattern(lambda rng, _: "".join(rng.choices(string.ascii_uppercase, k=rng.randint(3, 4)))),
    "host": _pattern(_host),
    "url": _pattern(_url),
    "image": _pattern(_file("png", "jpg")),
    "filename": _pattern(_file("docx", "pdf", "odt", "txt")),
    "script": _pattern(_file("sh", "py")),
    "version": _pattern(lambda rng, _: f"{rng.choice(('', 'v'))}{rng.randint(0, 9)}.{rng.randint(0, 20)}.{rng.randint(0, 9)}"),
    "plate": _pattern(lambda rng, _: f"{''.join(rng.choices(string.ascii_uppercase, k=2))} {rng.randint(100, 9999)}"),
    "address": _address,
    "numbers": _whole_numbers(1, 99, 3, 7),
    "pages": _whole_numbers(1, 400, 1, 4),
    "floors": _whole_numbers(1, 30, 1, 4),
    "rooms": _rooms,
}
