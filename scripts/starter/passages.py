"""Documents of invented places and things, questions about them, and passages that hold the answer, or only seem to."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pools import FIRST_NAMES, LAST_NAMES, Side, pool
from values import MONTHS

_KINDS = pool(
    "museum|hotel|library|hospital|school|factory|theatre|campsite|airport|bakery|bank|gym|zoo|music school|ice rink|bookshop|brewery|dental clinic|art gallery|"
    "youth hostel|stadium|farm shop|language school|car wash|nursing home|printing house|sawmill|riding club|coffee machine|lawn mower|dishwasher|electric bike",
    "observatory|lighthouse|monastery|ferry company|botanical garden|planetarium|glass foundry|climbing hall|puppet theatre|salt mine|cable car|weather balloon|pressure cooker",
)
_FRONTS = pool(
    "Oakfield|Riverside|Northgate|Greenwood|Hillcrest|Lakeview|Maple|Silverstone|Kingsbridge|Westbrook|Fairmont|Ashford|Redhill|Elmwood|Stonebridge|Clearwater|"
    "Highfield|Marlow|Winfield|Danbury|Rosewood|Larkspur|Eastwick|Pinecrest|Hartfield|Millbrook|Sunnydale|Thornton|Foxglove|Whitmore",
    "Brightwater|Quillhaven|Emberly|Nordstrand|Veldhoven|Tamarind|Crowmarsh|Ottermere|Sablewood|Yarrowdale|Belcaster|Ironmoor",
)

# Key | what its value is | sentences | questions | answers
_FACTS_TRAIN = """
founded|year|The {e} was founded in {v}.;It opened its doors for the first time in {v}.;Since {v} the {e} has been in business.|When was the {e} founded?;how old is the {e}, when did it start;what year did the {e} open;since when does the {e} exist|The {e} was founded in {v}.;It was founded in {v}.
hours|hours|It is open from {v}.;Opening hours are {v}.;Visitors are welcome from {v}.|When is the {e} open?;opening hours of the {e};what are the opening times;what time does the {e} open and close|It is open from {v}.;The {e} is open from {v}.
price|euros|Admission is {v}.;A ticket costs {v}.;Adults pay {v}.|How much is a ticket for the {e}?;what does it cost to get into the {e};price of a ticket;how much do adults pay|A ticket costs {v}.;Admission is {v}.
director|person|It is led by {v}.;The director is {v}.;{v} has been head of the {e} for years.|Who leads the {e}?;who is the director of the {e};name of the boss of the {e};who's in charge there|It is led by {v}.;The director is {v}.
phone|phone|You can reach us under {v}.;Our telephone number is {v}.;For questions call {v}.|What is the phone number of the {e}?;how can I call the {e};phone number pls;which number do I call|The telephone number is {v}.;You can call {v}.
address|address|It stands at {v}.;The address is {v}.;You find us at {v}.|Where is the {e}?;address of the {e};where do I find the {e};how do I get there, what's the address|The address is {v}.;It stands at {v}.
capacity|people|There is room for {v}.;It holds up to {v}.;At most {v} fit in.|How many people fit into the {e}?;capacity of the {e};how many guests can the {e} take;is there room for many people in the {e}|There is room for {v}.;It holds up to {v}.
staff|people|{v} work here.;The {e} employs {v}.;Its team counts {v}.|How many people work at the {e}?;number of employees of the {e};how big is the team;staff of the {e}|The {e} employs {v}.;{v} work there.
warranty|duration|The warranty lasts {v}.;We give a warranty of {v}.;Defects are repaired free of charge for {v}.|How long is the warranty?;warranty period of the {e};for how long are repairs free;how long do I have warranty on the {e}|The warranty lasts {v}.;It is {v}.
cancel|duration|Bookings can be cancelled up to {v} before the date.;Cancellation is free until {v} in advance.|Until when can I cancel?;how long before can I cancel my booking;cancellation deadline;till when is cancelling free|You can cancel up to {v} in advance.;Cancellation is free until {v} in advance.
parking|euros|Parking costs {v} a day.;For the car park we charge {v} a day.|How much is parking?;what does parking at the {e} cost;price for the car park;can I park there and what do I pay|Parking costs {v} a day.
closed|weekday|It is closed on {v}.;On {v} the {e} stays closed.;{v} is our day of rest.|On which day is the {e} closed?;when is the {e} not open;closing day of the {e};which day of the week are they closed|It is closed on {v}.
area|area|The grounds measure {v}.;It covers {v}.;The whole {e} has {v}.|How large is the {e}?;area of the {e};what size are the grounds;how big is it|It covers {v}.;The grounds measure {v}.
weight|weight|It weighs {v}.;The weight is {v}.|How much does the {e} weigh?;weight of the {e};how heavy is the {e};is the {e} heavy|It weighs {v}.
architect|person|The building was designed by {v}.;{v} drew the plans.;Its architect was {v}.|Who designed the building?;architect of the {e};who drew the plans for the {e};who built the {e}|It was designed by {v}.;The architect was {v}.
discount|percent|Students get {v} off.;Members pay {v} less.;There is a discount of {v} for groups.|What discount is there?;how much less do I pay;discount at the {e};is there a reduction|The discount is {v}.;You get {v} off.
dogs|rule|Dogs {v}.;As to dogs: they {v}.|Can I bring my dog?;are dogs allowed at the {e};rules for dogs;may I come with a dog|Dogs {v}.
visitors|count|About {v} visitors come every year.;Each year it counts {v} visitors.|How many visitors does the {e} have?;visitors per year;how many people visit the {e} every year;is the {e} popular, how many visitors|It has about {v} visitors a year.
rooms|small|It has {v} rooms.;There are {v} rooms in the building.|How many rooms does the {e} have?;number of rooms;rooms in the {e};how many rooms are there|It has {v} rooms.
delivery|duration|Delivery takes {v}.;Orders arrive within {v}.|How long does delivery take?;when will my order arrive;delivery time of the {e};how many days for delivery|Delivery takes {v}.;Orders arrive within {v}.
email|email|Write to {v}.;Our e-mail address is {v}.|What is the e-mail address of the {e}?;how do I write to the {e};email of the {e};where do I send an email|The e-mail address is {v}.
renovated|year|It was last renovated in {v}.;In {v} the roof and the windows were renewed.|When was the {e} renovated?;last renovation of the {e};when were the works done;year of renovation|It was renovated in {v}.
power|power|It draws {v}.;Its motor has {v}.|How much power does the {e} need?;power of the {e};how many watts;what does the motor have|It has {v}.;It draws {v}.
deadline|day|Applications must arrive by {v}.;The closing date for applications is {v}.|What is the deadline for applications?;until when can I apply;application deadline of the {e};by when do I have to apply|The deadline is {v}.;Applications must arrive by {v}.
"""
_FACTS_HELD_OUT = """
mirror|metres|Its main mirror has a width of {v}.;The main mirror measures {v}.|How wide is the main mirror?;size of the mirror;what does the mirror of the {e} measure;how big is the mirror|The main mirror measures {v}.;It has a width of {v}.
patron|person|Its patron is {v}.;{v} took over the patronage.|Who is the patron of the {e}?;name of the patron;who has the patronage;patron pls|The patron is {v}.
depth|metres|The deepest gallery lies {v} below the ground.;It goes down {v}.|How deep does the {e} go?;depth of the {e};how far down is the deepest gallery;how deep is it|It goes down {v}.;It lies {v} below the ground.
inscription|year|Above the gate the year {v} is carved.;A stone bears the year {v}.|Which year is carved above the gate?;what does the stone say;year on the stone of the {e};which year is on the gate|The year {v} is carved there.
interval|duration|The light turns once in {v}.;A full turn takes {v}.|How long does one turn take?;time of a full turn;how fast does the light turn;duration of a turn|A full turn takes {v}.
crew|people|Its crew consists of {v}.;On board there are {v} of the crew.|How large is the crew?;crew of the {e};how many are in the crew;number of crew members|The crew consists of {v}.
seedbank|count|The seed bank keeps {v} kinds of seed.;In its seed bank there are {v} kinds.|How many kinds of seed are kept?;size of the seed bank;kinds in the seed bank of the {e};how many seeds does the {e} have|The seed bank keeps {v} kinds.
silence|hours|Silence is kept from {v}.;From {v} nobody speaks.|When is silence kept?;hours of silence at the {e};when must I be silent;when does nobody speak|Silence is kept from {v}.
fine|euros|Whoever comes late pays {v}.;Late returns cost {v}.|What is the fine for coming late?;how much for late returns;late fee of the {e};what do I pay if I'm late|It costs {v}.;You pay {v}.
furnace|degrees|The furnace burns at {v}.;Inside the furnace there are {v}.|How hot is the furnace?;temperature of the furnace;how many degrees has the furnace;heat of the furnace|The furnace burns at {v}.
"""
_REFUSALS = (
    "The files do not say that.",
    "I could not find that in the files.",
    "The documents do not say.",
    "That is not in the documents.",
)
_FILLERS = (
    "Please keep this page for later use.|We look forward to your visit.|More is said in the next section.|This text is updated once a year.|"
    "The management reserves the right to make changes.|All statements are made without guarantee.|Our team is glad to help.|Thank you for your interest.|"
    "Photographs may be taken for private use.|Groups are asked to tell us beforehand."
).split("|")
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
    lines = (_FACTS_TRAIN if side == "train" else _FACTS_HELD_OUT).strip().splitlines()
    rows = [line.split("|") for line in lines]
    return [Fact(key, kind, tuple(said.split(";")), tuple(asked.split(";")), tuple(answers.split(";"))) for key, kind, said, asked, answers in rows]


def make_search(rng: random.Random, side: Side, *, is_held: bool) -> SearchCase:
    """A question about one place, and what a search finds: passages about it and about others of the same facts. `is_held`: one of them has the answer."""
    known = facts(side)
    fact = rng.choice(known)
    entities = _entities(rng, side, rng.randint(1, 4))
    endings = rng.choice(("md", "txt", "pdf", "docx"))
    files = [f"{rng.choice((_FILES.pick(rng, side), entity.replace(' ', '_').lower()))}{rng.choice(('', f'_{i + 1}', f'-{rng.randint(1, 99)}'))}.{endings}" for i, entity in enumerate(entities)]
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
            return rng.choice("Mondays Tuesdays Wednesdays Thursdays Fridays Saturdays Sundays".split())
        case "area":
            return f"{rng.randint(60, 9000)} {rng.choice(('square metres', 'hectares'))}"
        case "weight":
            return f"{rng.randint(1, 400)}{rng.choice(('', '.5'))} kilograms"
        case "percent":
            return f"{rng.randint(5, 60)} percent"
        case "rule":
            return rng.choice(("are welcome on a lead", "have to stay outside", "may come in on Sundays only", "are allowed in the garden", "are not allowed", "pay half the price"))
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
