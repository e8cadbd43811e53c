"""Documents of invented places and things, questions about them, and passages that hold the answer, or only seem to."""

from __future__ import annotations

import random
from dataclasses import dataclass

from scripts.starter import invented
from scripts.starter.pools import CITIES, COUNTRIES, FIRST_NAMES, LAST_NAMES, Side, pool, topic_lines
from scripts.starter.values import MONTHS

_KINDS = pool(
    "museum|hotel|library|hospital|school|factory|theatre|campsite|airport|bakery|bank|gym|zoo|music school|ice rink|bookshop|brewery|dental clinic|"
    "art gallery|"
    "youth hostel|stadium|farm shop|language school|car wash|nursing home|printing house|sawmill|riding club|coffee machine|lawn mower|dishwasher|"
    "electric bike|"
    "washing machine|vacuum cleaner|tablet computer|smart watch|router|printer|projector|water heater|heat pump|hearing aid|forklift|tractor|excavator|"
    "delivery van|fire engine|ambulance|tram|night train|cargo ship|sailing boat|houseboat|icebreaker|research vessel|research station|satellite|laboratory|"
    "web shop|mobile app|accounting software|photo editor|search engine|chess program|newspaper|magazine|radio station|podcast|film festival|book fair|"
    "marathon|"
    "summer camp|cooking course|first aid course|driving school|evening school|exchange programme|savings plan|pension fund|maintenance contract|"
    "supply contract|"
    "research project|housing project|road project|bridge|tunnel|dam|canal|reservoir|river park|power station|office building|town hall|post office|"
    "fire station|"
    "bus station|taxi service|travel agency|law firm|insurance office|software house|shipyard|steel works|paper mill|chocolate factory|cheese dairy|"
    "recycling centre|"
    "warehouse|data centre|call centre|nature reserve|cycle path|orchard|fish farm|rowing club|football club|chess club|brass band|film studio|"
    "design agency|"
    "foundation|trade union|youth council|parents council|housing association|kindergarten|university|research institute|pharmacy|eye clinic|animal shelter|"
    "food bank|city market|board game|cookbook|festival hall|repair shop|robot",
    "observatory|lighthouse|monastery|ferry company|botanical garden|planetarium|glass foundry|climbing hall|puppet theatre|salt mine|cable car|"
    "weather balloon|pressure cooker",
)
_FRONTS = pool(
    "Oakfield|Riverside|Northgate|Greenwood|Hillcrest|Lakeview|Maple|Silverstone|Kingsbridge|Westbrook|Fairmont|Ashford|Redhill|Elmwood|Stonebridge|Clearwater|"
    "Highfield|Marlow|Winfield|Danbury|Rosewood|Larkspur|Eastwick|Pinecrest|Hartfield|Millbrook|Sunnydale|Thornton|Foxglove|Whitmore",
    "Brightwater|Quillhaven|Emberly|Nordstrand|Veldhoven|Tamarind|Crowmarsh|Ottermere|Sablewood|Yarrowdale|Belcaster|Ironmoor",
    invented.front,
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
    "handbook|guide|info|brochure|faq|manual|rules|terms|about|overview|leaflet|factsheet|house_rules|welcome|"
    "notes|readme|policy|summary|report|specs|datasheet|agreement|minutes|memo|briefing|profile|guidelines|instructions|user_manual|wiki|intranet|newsletter|"
    "annual_report|product_page|terms_of_use|checklist|press_kit|quick_start|contract|project_plan|course_outline|staff_info|questions_and_answers|history",
    "charter|almanac|visitor_notes|prospectus|compendium",
)
_LISTED = {
    kind: tuple(words.split("|"))
    for kind, words in {
        "material": "stainless steel|oak|brick|concrete|aluminium|recycled plastic|sandstone|bamboo|painted wood|fibreglass|slate|rubber|tinted glass",
        "department": "finance|legal|planning|culture|environment|transport|health|sports|education|building|tourism|personnel|research",
        "licence": "MIT licence|Apache licence 2.0|GPL 3|CC BY 4.0|BSD licence|CC0 licence|Open Data licence|Mozilla licence",
        "energy": "A|B|C|D|A+|A++|A+++|E",
        "animal": "a red fox|an otter|a brown bear|a wise owl|a green frog|a white goose|a sleepy cat|a swift hare|a blue whale|a beaver|a lynx",
        "creatures": "swallows|storks|wild bees|hedgehogs|sparrows|two owls|field mice|three cats|pigeons|martens",
        "dish": "fish and chips|vegetable curry|pea soup|potato salad|rice with beans|pasta with tomato sauce|roast chicken|onion soup|goulash|fried rice",
        "goods": "online courses|rented rooms|printed maps|repairs|gift cards|school trips|souvenirs|wooden toys|frozen meals|spare tyres|second-hand clothes",
        "subject": "marine biology|materials science|medieval law|robotics|child psychology|traffic planning|food chemistry|sleep medicine|plant genetics",
        "os": "Windows 11|Windows 10|Linux|macOS 14|Android 13|iOS 17|Ubuntu 24.04|Debian 12",
        "format": "CSV|PDF|JSON|XML|ODS|HTML|XLSX|Markdown|SVG",
        "role": "the caretaker|the night porter|a security guard|the oldest pupil|the shift leader|the duty nurse|a retired teacher|the technician|the cook",
        "award": "a gold medal|the city award for design|first place in the regional contest|the green star|a medal for good advice|the safety award",
        "allergens": "nuts and milk|gluten|eggs and soy|celery|peanuts and sesame|mustard|fish and crab|wheat and rye|lactose",
        "motto": "care before speed|together and never alone|the future is ours|ask first, then act|for young and old|better every day|small but honest",
        "risk": "bad weather|a lack of trained staff|the rise in prices|a strike|the late delivery of steel|old wiring|a cyber attack|a lack of money",
        "music": "jazz|folk|old rock|classical music|hip hop|country music|film music|swing|tango|electronic music",
        "treasure": "a silver cup|a gold coin|an old map of the world|a letter from a queen|a ring with a blue stone|a painted chest|a book in leather",
        "clothing": "dark trousers and a white shirt|sturdy shoes|a helmet and gloves|a yellow vest|soft shoes without heels|warm clothes|a blue apron",
        "paying": "in cash|by card|by bank transfer|in cash or by card|with the city card|by phone|by direct debit|in advance by bank transfer",
        "fuel": "natural gas|wood pellets|heating oil|district heat|firewood|electricity|biogas|coal|warm water from the ground|straw",
        "spot": "behind the reception|in the kitchen|under the stairs|beside the main entrance|in the cloakroom|on the wall of the hallway",
        "access": "over a ramp at the back door|through the yard|through the garage|by the goods entrance|over the bridge at the car park",
        "week_days": "one day a week|two days a week|up to three days a week|four days a week|every other Friday|on Mondays and Tuesdays|five days a month",
        "code_language": "Python|Java|Rust|Go|C++|Kotlin|PHP|TypeScript|Fortran|Ruby|Swift|Elixir",
        "language_one": "English|French|German|Spanish|Italian|Turkish|Polish|Arabic|Japanese|Dutch|Greek|Danish|Hindi|Portuguese|Czech|Russian",
    }.items()
}
"""What values of these kinds may be. Held-out facts have none of these kinds."""


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
    fronts = _FRONTS.sample(rng, side, count)
    if rng.random() < 0.7:
        return [f"{front} {kind}" for front in fronts]
    return [f"{fronts[0]} {each}" for each in _KINDS.sample(rng, side, count)]


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
            return f"{rng.choice(('info', 'hello', 'office', 'desk'))}@{_FRONTS.pick(rng, side).lower().replace(' ', '')}.example"
        case "power":
            return f"{rng.randint(2, 90) * 50} watts"
        case "day":
            return f"{rng.randint(1, 28)} {rng.choice(MONTHS)} {rng.randint(2024, 2028)}"
        case "metres":
            return f"{rng.randint(1, 90)}.{rng.randint(1, 9)} metres"
        case "degrees":
            return f"{rng.randint(70, 180) * 10} degrees"
        case _ if kind in _LISTED:
            return rng.choice(_LISTED[kind])
        case "colour":
            return rng.choice(("", "", "dark ", "light ", "bright ")) + rng.choice(("red", "green", "blue", "yellow", "orange", "purple", "brown", "pink"))
        case "languages":
            *most, last = rng.sample(_LISTED["language_one"], rng.randint(2, 3))
            return f"{', '.join(most)} and {last}"
        case "millions":
            return f"{rng.randint(1, 60)}.{rng.randint(1, 9)} million {rng.choice(('euros', 'euros', 'dollars', 'pounds'))}"
        case "dollars":
            return f"{rng.randint(5, 900)} {rng.choice(('dollars', 'dollars', 'pounds', 'francs'))}"
        case "version":
            return f"{rng.randint(1, 24)}.{rng.randint(0, 14)}{rng.choice(('', f'.{rng.randint(1, 30)}', f'.{rng.randint(1, 30)}'))}"
        case "code":
            return f"{''.join(rng.choices('ABDEHKLMNPRSTX', k=rng.randint(2, 3)))}{rng.choice('-- ')}{rng.randint(100, 99999)}"
        case "digits":
            return f"{rng.randint(11, 99)}/{rng.randint(100, 999)}/{rng.randint(1000, 99999)}"
        case "iban":
            parts = (rng.randint(1000, 9999), rng.randint(1000, 9999), rng.randint(10, 9999))
            return f"{rng.choice(('DE', 'GB', 'FR', 'NL', 'AT'))}{rng.randint(10, 99)} {' '.join(map(str, parts))}"
        case "pin":
            return str(rng.randint(1000, 999_999))
        case "password":
            words = rng.choice(("sunny", "quiet", "green", "lucky", "brave")), rng.choice(("fox", "river", "lemon", "cloud", "train"))
            return f"{'-'.join(words)}-{rng.randint(10, 999)}"
        case "port":
            return str(rng.randint(1024, 9999))
        case "ip":
            return f"10.{rng.randint(0, 254)}.{rng.randint(0, 254)}.{rng.randint(1, 254)}"
        case "error":
            return f"{rng.choice('EFH')}{rng.randint(1, 99):02}"
        case "section":
            return f"{rng.choice(('section', 'paragraph', 'chapter', 'appendix'))} {rng.randint(1, 24)}"
        case "ratio":
            return f"{rng.randint(1, 9)} to {rng.randint(1, 9)}"
        case "score":
            return f"{rng.randint(0, 7)}:{rng.randint(0, 7)}"
        case "votes":
            return f"{rng.randint(20, 90)} votes to {rng.randint(0, 19)}"
        case "stars":
            return f"{rng.randint(2, 4)}.{rng.randint(0, 9)} out of 5"
        case "share":
            return f"{rng.randint(91, 99)}.{rng.randint(1, 99)} percent"
        case "kilometres":
            return f"{rng.randint(1, 40)}{rng.choice(('', '.5', '.2'))} kilometres"
        case "long":
            return rng.choice((f"{rng.randint(110, 950)} metres", f"{rng.randint(1, 60)}.{rng.randint(1, 9)} kilometres"))
        case "high":
            return f"{rng.randint(12, 2900)} metres"
        case "centimetres":
            return f"{rng.randint(70, 290)} centimetres"
        case "inches":
            return f"{rng.randint(5, 90)} inches"
        case "celsius":
            return f"{rng.randint(-25, 9)} degrees Celsius"
        case "warmth":
            return f"{rng.randint(15, 24)} degrees Celsius"
        case "storage":
            return f"{rng.randint(2, 900)} {rng.choice(('gigabytes', 'terabytes', 'GB'))}"
        case "megabytes":
            return f"{rng.randint(1, 500)} megabytes"
        case "bandwidth":
            return f"{rng.randint(2, 99) * 10} megabits per second"
        case "volume":
            return f"{rng.randint(2, 900)} cubic metres"
        case "speed":
            return f"{rng.randint(4, 320)} kilometres an hour"
        case "tons":
            return f"{rng.randint(1, 90)}{rng.choice(('', '.5'))} tons"
        case "kilowatts":
            return f"{rng.randint(3, 400)} kilowatts"
        case "volts":
            return f"{rng.choice((12, 24, 48, 110, 230, 400))} volts"
        case "decibels":
            return f"{rng.randint(20, 110)} decibels"
        case "milliseconds":
            return f"{rng.randint(5, 900)} milliseconds"
        case "seconds":
            return f"{rng.randint(3, 45)} seconds"
        case "minutes":
            return f"{rng.randint(3, 90)} minutes"
        case "run_hours":
            return f"{rng.randint(2, 72)} hours"
        case "days":
            return f"{rng.randint(2, 40)} days"
        case "term":
            return f"{rng.randint(2, 14)} {rng.choice(('weeks', 'months'))}"
        case "years":
            return f"{rng.randint(3, 21)} years"
        case "pages":
            return f"{rng.randint(8, 400)} pages"
        case "few":
            return str(rng.randint(2, 19))
        case "late_year":
            return str(rng.randint(1920, 2024))
        case "future_year":
            return str(rng.randint(2030, 2120))
        case "century":
            return f"the {rng.randint(11, 19)}th century"
        case "clock":
            return f"{rng.randint(6, 11)}:{rng.choice(('00', '05', '15', '20', '30', '45'))}"
        case "months":
            first = rng.randint(0, 8)
            return f"{MONTHS[first]} to {MONTHS[rng.randint(first + 1, 11)]}"
        case "days_of":
            first = rng.randint(1, 20)
            return f"{first} to {first + rng.randint(1, 8)} {rng.choice(MONTHS[4:9])}"
        case "often":
            every = f"every {rng.randint(2, 12)} {rng.choice(('days', 'weeks', 'months'))}"
            return rng.choice(("once a week", "twice a year", "twice a month", "once a day", every, every))
        case "room":
            return rng.choice((f"room {rng.randint(1, 420)}", f"room {rng.choice('ABCDE')} {rng.randint(1, 40)}", f"hall {rng.choice('ABCDEF')}"))
        case "bus_line":
            return f"{rng.choice(('bus', 'bus', 'tram', 'night bus'))} {rng.randint(1, 99)}"
        case "web":
            return f"www.{_FRONTS.pick(rng, side).lower()}{rng.choice(('', '-online', '-info'))}.example{rng.choice(('', '/news', '/help', '/start'))}"
        case "firm":
            kinds = ("& Sons", "Ltd", "Engineering", "Logistics", "Trading", "Systems", "Brothers")
            return f"{LAST_NAMES.pick(rng, side)} {rng.choice(kinds)}"
        case "couple":
            return " and ".join(f"{FIRST_NAMES.pick(rng, side)} {LAST_NAMES.pick(rng, side)}" for _ in range(2))
        case "city":
            return CITIES.pick(rng, side)
        case "country":
            return COUNTRIES.pick(rng, side)
        case _:
            return str(rng.randint(2, 300))
