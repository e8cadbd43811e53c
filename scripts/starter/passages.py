"""Documents of invented places and things, questions about them, and passages that hold the answer, or only seem to."""

from __future__ import annotations

import random
from dataclasses import dataclass

from scripts.starter.pools import FIRST_NAMES, LAST_NAMES, Side, pool, topic_lines
from scripts.starter.values import MONTHS

_KINDS = pool(
    "museum|hotel|library|hospital|school|factory|theatre|campsite|airport|bakery|bank|gym|zoo|music school|ice rink|bookshop|brewery|dental clinic|"
    "art gallery|"
    "youth hostel|stadium|farm shop|language school|car wash|nursing home|printing house|sawmill|riding club|coffee machine|lawn mower|dishwasher|"
    "electric bike",
    "observatory|lighthouse|monastery|ferry company|botanical garden|planetarium|glass foundry|climbing hall|puppet theatre|salt mine|cable car|"
    "weather balloon|pressure cooker",
)
_FRONTS = pool(
    "Oakfield|Riverside|Northgate|Greenwood|Hillcrest|Lakeview|Maple|Silverstone|Kingsbridge|Westbrook|Fairmont|Ashford|Redhill|Elmwood|Stonebridge|Clearwater|"
    "Highfield|Marlow|Winfield|Danbury|Rosewood|Larkspur|Eastwick|Pinecrest|Hartfield|Millbrook|Sunnydale|Thornton|Foxglove|Whitmore",
    "Brightwater|Quillhaven|Emberly|Nordstrand|Veldhoven|Tamarind|Crowmarsh|Ottermere|Sablewood|Yarrowdale|Belcaster|Ironmoor",
)

_REFUSALS = (
    "The files do not say that.",
    "I could not find that in the files.",
    "The documents do not say.",
    "That is not in the documents.",
)
_FILLERS = [
    "Please keep this page for later use.",
    "We look forward to your visit.",
    "More is said in the next section.",
    "This text is updated once a year.",
    "The management reserves the right to make changes.",
    "All statements are made without guarantee.",
    "Our team is glad to help.",
    "Thank you for your interest.",
    "Photographs may be taken for private use.",
    "Groups are asked to tell us beforehand.",
]
_FILES = pool(
    "handbook|guide|info|brochure|faq|manual|rules|terms|about|overview|leaflet|factsheet|house_rules|welcome",
    "charter|almanac|visitor_notes|prospectus|compendium",
)


@dataclass(frozen=True, slots=True)
class Fact:
    key: str
    kind: str
    sentences: tuple[str, ...]
    questions: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SearchCase:
    files: tuple[str, ...]
    question: str
    query: str
    passages: tuple[tuple[str, str], ...]
    """File and text, as found."""
    answer: str
    value: str | None
    """What a right answer holds; None when the passages do not say."""


def facts(side: Side) -> list[Fact]:
    """topics/facts_*.txt, one line a fact: its key | what its value is | sentences | questions | answers, {e} for the place and {v} for the value."""
    rows = [line.split("|") for line in topic_lines("facts", side)]
    return [Fact(key, kind, tuple(said.split(";")), tuple(asked.split(";")), tuple(answers.split(";"))) for key, kind, said, asked, answers in rows]


def make_search(rng: random.Random, side: Side, *, is_held: bool) -> SearchCase:
    """A question about one place, and what a search finds: passages about it and about others of the same facts. `is_held`: one of them has the answer."""
    known = facts(side)
    fact = rng.choice(known)
    entities = _entities(rng, side, rng.randint(1, 4))
    endings = rng.choice(("md", "txt", "pdf", "docx"))
    files = [
        f"{rng.choice((_FILES.pick(rng, side), entity.replace(' ', '_').lower()))}{rng.choice(('', f'_{i + 1}', f'-{rng.randint(1, 99)}'))}.{endings}"
        for i, entity in enumerate(entities)
    ]
    asked = entities[0]
    value = _value(fact.kind, rng, side)
    others = [each for each in known if each.key != fact.key]
    passages: list[tuple[str, str]] = []
    for i, (file, entity) in enumerate(zip(files, entities, strict=True)):
        told = [(each, _value(each.kind, rng, side)) for each in rng.sample(others, rng.randint(1, 3))]
        if i == 0 and is_held:
            told.insert(rng.randint(0, len(told)), (fact, value))
        elif i > 0 and rng.random() < 0.7:
            told.insert(rng.randint(0, len(told)), (fact, _value(fact.kind, rng, side)))
        passages.append((file, _text(entity, told, rng)))
        if i == 0 and rng.random() < 0.4:
            more = [(each, _value(each.kind, rng, side)) for each in rng.sample([each for each in others if each not in [t for t, _ in told]], 1)]
            passages.append((file, _text(entity, more, rng)))
    if rng.random() < 0.6:
        rng.shuffle(passages)
    question = rng.choice(fact.questions)
    if "{e}" not in question and len(entities) > 1:
        question = question.rstrip("?") + rng.choice((" at the {e}?", " (the {e})", ", {e}?"))
    question = question.format(e=asked)
    answer = rng.choice(fact.answers).format(e=asked, v=value) if is_held else rng.choice(_REFUSALS)
    return SearchCase(tuple(dict.fromkeys(files)), question, _query(question), tuple(passages), answer[0].upper() + answer[1:], value if is_held else None)


def _query(question: str) -> str:
    """What is searched for: the question without its question words."""
    return question.rstrip("?.")


def _text(entity: str, told: list[tuple[Fact, str]], rng: random.Random) -> str:
    sentences = [rng.choice(fact.sentences).format(e=entity, v=value) for fact, value in told]
    if not any(entity in sentence for sentence in sentences):
        sentences[0] = f"{rng.choice(('About the', 'The', 'Welcome to the'))} {entity}. {sentences[0]}"
    if rng.random() < 0.5:
        sentences.insert(rng.randint(1, len(sentences)), rng.choice(_FILLERS))
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _entities(rng: random.Random, side: Side, count: int) -> list[str]:
    """Names that are alike: the same kind of place, or the same front."""
    kind = _KINDS.pick(rng, side)
    fronts = rng.sample(_FRONTS.of(side), count)
    if rng.random() < 0.7:
        return [f"{front} {kind}" for front in fronts]
    return [f"{fronts[0]} {each}" for each in rng.sample(_KINDS.of(side), count)]


def _value(kind: str, rng: random.Random, side: Side) -> str:
    match kind:
        case "year":
            return str(rng.randint(1480, 2023))
        case "hours":
            return f"{rng.randint(5, 11)}:{rng.choice(('00', '30'))} to {rng.randint(14, 23)}:{rng.choice(('00', '30', '15'))}"
        case "euros":
            return f"{rng.randint(2, 90)}{rng.choice(('', '', '.50'))} euros"
        case "person":
            return f"{rng.choice(('', '', 'Dr ', 'Ms ', 'Mr '))}{FIRST_NAMES.pick(rng, side)} {LAST_NAMES.pick(rng, side)}"
        case "phone":
            return f"0{rng.randint(20, 99)} {rng.randint(1000, 99999)}"
        case "address":
            return f"{rng.randint(1, 180)} {rng.choice(('Mill', 'Station', 'Church', 'Park', 'Castle', 'Bridge'))} {rng.choice(('Street', 'Road', 'Lane'))}"
        case "people":
            return f"{rng.randint(4, 1900)} people"
        case "duration":
            return f"{rng.randint(2, 60)} {rng.choice(('days', 'weeks', 'months', 'hours', 'minutes'))}"
        case "weekday":
            return rng.choice(["Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays"])
        case "area":
            return f"{rng.randint(60, 9000)} {rng.choice(('square metres', 'hectares'))}"
        case "weight":
            return f"{rng.randint(1, 400)}{rng.choice(('', '.5'))} kilograms"
        case "percent":
            return f"{rng.randint(5, 60)} percent"
        case "rule":
            return rng.choice(
                (
                    "are welcome on a lead",
                    "have to stay outside",
                    "may come in on Sundays only",
                    "are allowed in the garden",
                    "are not allowed",
                    "pay half the price",
                )
            )
        case "count":
            return f"{rng.randint(2, 900)},{rng.randint(100, 999)}"
        case "email":
            return f"{rng.choice(('info', 'hello', 'office', 'desk'))}@{_FRONTS.pick(rng, side).lower()}.example"
        case "power":
            return f"{rng.randint(2, 90) * 50} watts"
        case "day":
            return f"{rng.randint(1, 28)} {rng.choice(MONTHS)} {rng.randint(2024, 2028)}"
        case "metres":
            return f"{rng.randint(1, 90)}.{rng.randint(1, 9)} metres"
        case "degrees":
            return f"{rng.randint(70, 180) * 10} degrees"
        case _:
            return str(rng.randint(2, 300))
