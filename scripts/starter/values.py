"""Values that requests mention: each with its JSON schema, as JSON, and as people say it."""

from __future__ import annotations

import datetime as dt
import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.starter import invented
from scripts.starter.pools import CITIES, COUNTRIES, FIRST_NAMES, ITEM_LISTS, LAST_NAMES, PRODUCTS, TEXTS, TOPICS, Pool, Side, pool

_TITLES = pool(
    "Blue River|The Long Way Home|Golden Lantern|Silent Harbor|Casa Verde|Winter Sun|Old Mill|Night Train|Red Balloon|Crystal Lake|Little Italy|Stone Garden|"
    "Morning Light|The Last Page|Green Valley|Paper Moon|Iron Horse|White Rabbit|Seven Hills|Falling Leaves",
    "Amber Road|The Quiet Field|Copper Kettle|Violet Hour|Northern Crown|Salt and Smoke|Hollow Oak|Distant Drums|Marble Arch|Starling",
    invented.title,
)
_WORDS = pool(
    "alpha|bridge|cactus|dolphin|ember|falcon|granite|harvest|island|jungle|kernel|ladder|magnet|nectar|orbit|pepper|quartz|ribbon|saturn|timber|umbra|"
    "violet|walnut|yellow|zenith",
    "anvil|bramble|cobalt|dynamo|estuary|fjord|gazelle|hazel|indigo|juniper|krill|lagoon|mosaic|nimbus",
    invented.word,
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
    "crop: wheat,barley,potatoes,corn; paper: A4,A3,letter; clock: 12 hour,24 hour; environment: staging,production,testing;"
    "oven: hot air,grill,top heat,bottom heat,steam; laundry: cotton,wool,delicates,synthetics,jeans; dishes: eco,intensive,short,glasses; "
    "outside: driveway,porch,backyard,gate,balcony; waste: paper,plastic,organic waste,metal,household waste; "
    "coffee: latte,americano,cappuccino,mocha,flat white; strength: mild,medium,strong; chore: dishes,vacuuming,ironing,dusting,cooking; "
    "weekday: monday,tuesday,wednesday,thursday,friday,saturday,sunday; speed: slow,normal,fast,turbo; "
    "equipment: projector,whiteboard,video camera,telephone,flipchart; stamp: draft,confidential,copy,paid,approved; "
    "theme: minimal,colourful,corporate,playful; motif: sunset,kitten,beach,skyline,flower; line: office,mobile,private; rule: allow,deny,reject; "
    "protocol: tcp,udp,icmp; dns: A,CNAME,MX,TXT; os: ubuntu,debian,windows,fedora; dataformat: csv,json,parquet,xml; sql: select,insert,update,delete; "
    "sev: critical,major,minor,cosmetic; cijob: lint,unit tests,build,deploy,security check; signal: TERM,KILL,HUP,INT; "
    "filemode: read only,writable,executable,hidden; band: 2.4 GHz,5 GHz,6 GHz; software: photoshop,autocad,matlab,jira,salesforce; "
    "device: laptop,tablet,headset,docking station,monitor; event: order created,order paid,order cancelled,user created,user deleted; "
    "scope: read,write,delete,manage users; coin: bitcoin,ethereum,solana,dogecoin,litecoin; payment: bank transfer,credit card,voucher,cash,paypal; "
    "cardloss: stolen,lost,copied; validity: today only,this week,until cancelled; direction: up,down; "
    "month: january,february,march,april,may,june,july,august,september; meal: before breakfast,after lunch,before dinner,at bedtime; "
    "vaccine: flu,tetanus,measles,rabies,hepatitis,polio; beverage: water,juice,green tea,lemonade; workout: running,swimming,cycling,yoga,rowing,boxing; "
    "feeling: great,okay,tired,awful; sex: female,male; blood: A,B,AB,O; freight: road,rail,sea freight,air freight; fuel: diesel,petrol,premium,gas; "
    "trip: tourism,work,study,family visit; seat: window,aisle,middle; sight: parks,churches,markets,galleries,viewpoints; camping: tent,camper,caravan; "
    "consular: passport,visa,certificate,legal help; pace: minutes per km,minutes per mile,km per hour; surface: carpet,hard court,grass,sand; "
    "race: marathon,half marathon,10 km run,relay; formation: 4-4-2,4-3-3,3-5-2; subject: maths,physics,history,biology,geography,chemistry; "
    "exam: midterm,final exam,oral exam,project work; quizform: multiple choice,true or false,open questions; degree: bachelor,master,doctorate; "
    "diet: vegan,vegetarian,halal,kosher; element: helium,carbon,gold,silver,uranium,mercury; property: melting point,boiling point,density,atomic number; "
    "papersort: newest,oldest,most cited; labdevice: microscope,centrifuge,incubator,spectrometer; species: human,mouse,zebrafish,rice; "
    "wildlife: deer,wolves,foxes,storks,beavers; twilight: civil,nautical,astronomical; planet: mars,venus,jupiter,saturn,mercury; "
    "milking: morning,evening,afternoon; livestock: sheep,goats,pigs,cattle,horses; fertilizer: nitrogen,potash,lime,cow dung; "
    "fieldwork: ploughing,mowing,spraying,baling; election: federal,regional,municipal,european; regdoc: shareholders,balance sheet,statutes; "
    "key: C major,G major,D minor,A minor,F major; instrument: violin,cello,trumpet,flute,guitar; audio: wav,flac,ogg; "
    "chess: king,queen,bishop,knight,pawn; square: e4,d5,f3,c6,g7,b2; game: poker,tetris,ludo,bingo,hearts; "
    "loot: healing potion,magic sword,golden key,rope,torch; hero: warrior,mage,archer,healer,thief; heroskill: fishing,swordplay,alchemy,stealth; "
    "trivia: history,film,sports,nature,geography; icon: flag,star,heart,house; units: metric,imperial; "
    "cuisine: thai,mexican,greek,lebanese,korean,ethiopian; pricelevel: cheap,mid price,fancy; roast: chicken,steak,turkey,salmon,ribs; "
    "carseat: driver seat,passenger seat,back seat; carjob: oil change,brake check,paint repair,yearly check; carmake: Toyota,Skoda,Fiat,Volvo,Honda; "
    "tyre: winter,summer,all season; groupby: hour,day,week,month; battery: self use,backup only,peak saving,charging only; "
    "mfa: app code,text message,security key; scan: port check,login check,full check; sessiondevice: phones,laptops,browsers,tablets; "
    "visibility: public,unlisted,private; hiring: first talk,test task,final talk,offer,rejected; shift: early,late,weekend; "
    "clause: liability,termination,warranty,confidentiality,payment terms; industry: clothing,foodstuff,electronics,toys; "
    "law: civil code,labour law,road traffic act,tenancy act; sort: cheapest,newest,best rated,bestselling; shipping: standard,express,same day; "
    "shopservice: repairs,click and collect,gift wrapping,parking; network: facebook,instagram,linkedin,mastodon,tiktok; "
    "audience: everyone,friends,followers,colleagues; defect: scratched,bent,wrong size,missing parts,discoloured; trace: suppliers,customers,both ways; "
    "finish: matte,glossy,satin; pass: single,day,weekly,monthly,tourist; pollutant: ozone,fine dust,nitrogen dioxide,carbon monoxide; "
    "playground: swings,slides,sandpit,trampoline; treework: pruning,felling,watering; treekind: maple,chestnut,birch,willow; "
    "petfood: dry food,wet food,biscuits; dogaim: sit,stay,come,heel; flatfeature: balcony,fitted kitchen,parking lot,garden; "
    "condition: new,renovated,needs repair; rsvp: accepted,declined,maybe; hair: haircut,colouring,beard trim,perm; "
    "hairlength: short,shoulder length,long; mood: cheerful,serious,romantic,encouraging; zodiac: aries,taurus,gemini,leo,virgo,libra; "
    "period: today,tomorrow,this week,this month; weeksystem: iso,american; hash: md5,sha1,sha256,crc32; numeral: roman numerals,binary,hexadecimal,words; "
    "colourmodel: rgb,hsl,cmyk; sentiscale: five star,ten point,percent; reader: children,experts,managers,beginners; "
    "named: puppy,band,boat,company,bakery; initial: A,B,C,M,S; quarter: Q1,Q2,Q3,Q4; salesby: product,customer,region; "
    "leadsource: trade fair,website,phone call,recommendation; countryfigure: population,area,average income,life expectancy; "
    "spending: rent,groceries,leisure,clothes,insurance; transactionsort: newest,largest,oldest; heightunit: metres,feet; "
    "mealplan: breakfast only,full board,no meals; roomview: sea view,garden view,city view"
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
        case "some":
            return _some(ENUMS[argument], rng)
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
        chosen = words.sample(rng, side, rng.randint(low, high))
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


def _some(options: Sequence[str], rng: random.Random) -> Value:
    """One to three of the options of an enum, which are written alike each time: an array does not tell which options a function has."""
    chosen = rng.sample(options, rng.randint(1, min(3, len(options))))
    return Value({"type": "array", "items": {"type": "string", "enum": list(options)}}, chosen, listed(chosen))


def _each(make_text: Callable[[random.Random, Side], str], item: dict[str, Any], low: int, high: int) -> Maker:
    """Several texts of a kind, none of them twice."""

    def maker(rng: random.Random, side: Side) -> Value:
        found = list(dict.fromkeys(make_text(rng, side) for _ in range(rng.randint(low, high))))
        return Value({"type": "array", "items": item}, found, listed(found))

    return maker


def _object(keys: tuple[str, ...], others: tuple[tuple[str, ...], ...], low: int, high: int, said: tuple[str, ...]) -> Maker:
    """An object of whole numbers under one of several sets of keys."""

    def maker(rng: random.Random, side: Side) -> Value:
        chosen = rng.choice((keys, keys, *others))
        numbers = sorted(rng.sample(range(low, high + 1), len(chosen)), reverse=len(chosen) == 3)
        schema = {"type": "object", "properties": {key: {"type": "integer"} for key in chosen}, "required": list(chosen)}
        return Value(schema, dict(zip(chosen, numbers, strict=True)), rng.choice(said).format(*numbers))

    return maker


def _learned(train: str) -> Maker:
    """Phrases to learn from; evaluation, which has no function with them, takes its own texts."""
    phrases = train.split("|")

    def maker(rng: random.Random, side: Side) -> Value:
        phrase = rng.choice(phrases) if side == "train" else TEXTS.pick(rng, side)
        return Value({"type": "string"}, phrase, phrase)

    return maker


def _amounts(rng: random.Random, side: Side) -> Value:
    numbers = [round(rng.uniform(1, 120), rng.choice((1, 2))) for _ in range(rng.randint(2, 5))]
    return Value({"type": "array", "items": {"type": "number"}}, numbers, rng.choice((", ", "; ", " ")).join(map(str, numbers)))


def _lines(rng: random.Random, side: Side) -> Value:
    """What is ordered, with how many of each."""
    chosen = [{"item": word, "quantity": rng.randint(1, 30)} for word in rng.sample(PRODUCTS.of(side), rng.randint(1, 3))]
    item = {"type": "object", "properties": {"item": {"type": "string"}, "quantity": {"type": "integer"}}, "required": ["item", "quantity"]}
    times = rng.choice(("{}x {}", "{} x {}"))
    return Value({"type": "array", "items": item}, chosen, listed([times.format(each["quantity"], each["item"]) for each in chosen]))


def _datetime(rng: random.Random, side: Side) -> Value:
    day, hour, minute = _day(rng), rng.randint(0, 23), rng.choice((0, 15, 30, 45))
    clock = rng.choice((f"{hour:02}:{minute:02}", f"{hour % 12 or 12}{f':{minute:02}' if minute else ''} {'am' if hour < 12 else 'pm'}"))
    schema = {"type": "string", "format": "date-time"}
    return Value(schema, f"{day.isoformat()}T{hour:02}:{minute:02}:00", f"{_said_day(day, rng)} at {clock}")


def _hour(rng: random.Random, side: Side) -> str:
    return f"{rng.randint(0, 23):02}:{rng.choice((0, 0, 15, 30, 45)):02}"


def _hours(rng: random.Random, side: Side) -> Value:
    """From one time of the day to another."""
    first = rng.randint(6, 18)
    times = [f"{hour:02}:{rng.choice((0, 0, 30)):02}" for hour in (first, first + rng.randint(1, 5))]
    keys = rng.choice((("from", "to"), ("start", "end"), ("opens", "closes")))
    schema = {"type": "object", "properties": {key: {"type": "string"} for key in keys}, "required": list(keys)}
    return Value(schema, dict(zip(keys, times, strict=True)), rng.choice(("{} to {}", "{} until {}", "{} - {}")).format(*times))


def _duration(rng: random.Random, side: Side) -> Value:
    hours, minutes = rng.randint(1, 9), rng.choice((5, 10, 15, 20, 30, 40, 45))
    schema = {"type": "object", "properties": {key: {"type": "integer"} for key in ("hours", "minutes")}, "required": ["hours", "minutes"]}
    said = rng.choice((f"{hours} hour{'s' if hours > 1 else ''} and {minutes} minutes", f"{hours}h {minutes}min", f"{hours} h {minutes} min"))
    return Value(schema, {"hours": hours, "minutes": minutes}, said)


def _percent(rng: random.Random, side: Side) -> Value:
    number = rng.choice((rng.randint(1, 100), 5 * rng.randint(1, 20)))
    bounds = {"minimum": 0, "maximum": 100} if rng.random() < 0.3 else {}
    return Value({"type": "integer", **bounds}, number, rng.choice(("{}%", "{} percent")).format(number))


def _degrees(rng: random.Random, side: Side) -> Value:
    """Below zero as well."""
    number = rng.randint(-25, 40)
    return Value({"type": "integer"}, number, str(number) if number >= 0 else rng.choice((str(number), f"minus {-number}")))


def _fraction(rng: random.Random, side: Side) -> Value:
    number = rng.randint(1, 99) / 100
    return Value({"type": "number"}, number, str(number))


def _coordinates(rng: random.Random, side: Side) -> Value:
    keys = rng.choice((("lat", "lon"), ("latitude", "longitude"), ("lat", "lng")))
    numbers = [round(rng.uniform(-70, 70), 2), round(rng.uniform(-170, 170), 2)]
    schema = {"type": "object", "properties": {key: {"type": "number"} for key in keys}, "required": list(keys)}
    return Value(schema, dict(zip(keys, numbers, strict=True)), rng.choice(("{}, {}", "{} / {}", "{} {}")).format(*numbers))


def _money(rng: random.Random, side: Side) -> Value:
    amount = rng.choice((rng.randint(5, 900), round(rng.uniform(2, 90), 2)))
    currency = rng.choice(ENUMS["currency"])
    schema = {
        "type": "object",
        "properties": {"amount": {"type": "number"}, "currency": {"type": "string", "enum": list(ENUMS["currency"])}},
        "required": ["amount", "currency"],
    }
    return Value(schema, {"amount": amount, "currency": currency}, rng.choice((f"{amount} {currency}", f"{currency} {amount}")))


def _party(rng: random.Random, side: Side) -> Value:
    adults, children = rng.randint(2, 6), rng.randint(2, 5)
    schema = {"type": "object", "properties": {key: {"type": "integer"} for key in ("adults", "children")}, "required": ["adults", "children"]}
    said = rng.choice((f"{adults} adults and {children} children", f"{adults} adults, {children} kids"))
    return Value(schema, {"adults": adults, "children": children}, said)


def _given(rng: random.Random, side: Side) -> Value:
    """A full name in its two parts."""
    keys = rng.choice((("first_name", "last_name"), ("given_name", "family_name"), ("first", "last")))
    names = (FIRST_NAMES.pick(rng, side), LAST_NAMES.pick(rng, side))
    schema = {"type": "object", "properties": {key: {"type": "string"} for key in keys}, "required": list(keys)}
    return Value(schema, dict(zip(keys, names, strict=True)), " ".join(names))


def _ip(rng: random.Random, side: Side) -> Value:
    text = ".".join(str(rng.randint(1, 254)) for _ in range(4))
    return Value({"type": "string", "format": "ipv4"} if rng.random() < 0.6 else {"type": "string"}, text, text)


def _eaten(side: Side) -> list[str]:
    return [word for word in ITEM_LISTS.of(side) if word not in {"soap", "batteries", "candles", "napkins", "pens", "sponges", "matches"}]


def _food(rng: random.Random, side: Side) -> Value:
    word = rng.choice(_eaten(side))
    return Value({"type": "string"}, word, word)


def _foods(rng: random.Random, side: Side) -> Value:
    chosen = rng.sample(_eaten(side), rng.randint(1, 4))
    return Value({"type": "array", "items": {"type": "string"}}, chosen, listed(chosen))


def _hashtag(rng: random.Random, side: Side) -> str:
    return f"#{_WORDS.pick(rng, side)}"


def _ticker(rng: random.Random, side: Side) -> str:
    return "".join(rng.choices(string.ascii_uppercase, k=3))


def _email(rng: random.Random, side: Side) -> str:
    who = f"{FIRST_NAMES.pick(rng, side)}.{LAST_NAMES.pick(rng, side)}".lower().replace(" ", "").replace("'", "")
    return f"{who}@{_WORDS.pick(rng, side)}.{rng.choice(('com', 'org', 'net', 'example'))}"


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
    "ages": _whole_numbers(1, 16, 1, 3),
    "years": _whole_numbers(2012, 2027, 1, 3),
    "ports": _whole_numbers(20, 9000, 1, 3),
    "rooms": lambda rng, _: _some(ENUMS["room"], rng),
    "countries": _several(COUNTRIES, 1, 3),
    "food": _food,
    "foods": _foods,
    "hashtags": _each(_hashtag, {"type": "string"}, 1, 3),
    "cities": _several(CITIES, 2, 4),
    "emails": _each(_email, {"type": "string"}, 1, 3),
    "hosts": _each(_host, {"type": "string"}, 2, 4),
    "urls": _each(_url, {"type": "string", "format": "uri"}, 2, 3),
    "files": _each(_file("pdf", "docx", "txt"), {"type": "string"}, 2, 4),
    "tickers": _each(_ticker, {"type": "string"}, 2, 4),
    "dates": _each(lambda rng, _: _day(rng).isoformat(), {"type": "string", "format": "date"}, 1, 3),
    "times": _each(_hour, {"type": "string"}, 1, 3),
    "amounts": _amounts,
    "lines": _lines,
    "datetime": _datetime,
    "hours": _hours,
    "duration": _duration,
    "percent": _percent,
    "degrees": _degrees,
    "fraction": _fraction,
    "coordinates": _coordinates,
    "money": _money,
    "party": _party,
    "size": _object(("width", "height"), (("w", "h"), ("x", "y")), 20, 2000, ("{}x{}", "{} x {}", "{} by {}")),
    "box": _object(("length", "width", "height"), (("l", "w", "h"), ("depth", "width", "height")), 5, 120, ("{}x{}x{}", "{} x {} x {}", "{} by {} by {}")),
    "between": _object(("min", "max"), (("low", "high"), ("from", "to"), ("at_least", "at_most")), 10, 90, ("{} to {}", "{}-{}")),
    "given": _given,
    "company": _pattern(lambda rng, side: f"{LAST_NAMES.pick(rng, side)} {rng.choice(('Ltd', 'GmbH', 'Inc', 'Foods', 'Logistics', 'and Sons', 'Motors'))}"),
    "ip": _ip,
    "cidr": _pattern(lambda rng, _: f"10.{rng.randint(0, 255)}.{rng.choice((0, 64, 128))}.0/{rng.choice((16, 20, 24))}"),
    "domain": _pattern(lambda rng, side: f"{rng.choice(('', '', 'shop.', 'mail.'))}{_WORDS.pick(rng, side)}.{rng.choice(('com', 'org', 'net', 'io'))}"),
    "mac": _pattern(lambda rng, _: ":".join(f"{rng.randint(0, 255):02x}" for _ in range(6))),
    "commit": _pattern(lambda rng, _: f"{rng.randint(0, 9)}{rng.getrandbits(28):07x}"[: rng.choice((7, 8))]),
    "path": _pattern(lambda rng, side: f"/{rng.choice(('srv', 'home', 'data', 'var/log', 'opt'))}/{_WORDS.pick(rng, side)}{rng.choice(('', '/tmp', '/old'))}"),
    "video": _pattern(lambda rng, side: f"{_WORDS.pick(rng, side)}{rng.choice(('', f'_{rng.randint(1, 99)}'))}.{rng.choice(('mp4', 'mov'))}"),
    "audio": _pattern(lambda rng, side: f"{_WORDS.pick(rng, side)}{rng.choice(('', f'-{rng.randint(1, 99)}'))}.{rng.choice(('mp3', 'm4a'))}"),
    "hashtag": _pattern(_hashtag),
    "handle": _pattern(lambda rng, side: f"@{FIRST_NAMES.pick(rng, side).lower()}{rng.choice(('', '_', '.'))}{_WORDS.pick(rng, side)}"),
    "span": _pattern(lambda rng, _: f"{rng.randint(1, 60)}{rng.choice('smhd')}"),
    "cron": _pattern(lambda rng, _: f"{rng.choice((0, 15, 30))} {rng.randint(0, 23)} * * {rng.choice(('*', '1', '1-5'))}"),
    "query": _pattern(lambda rng, side: f"SELECT {rng.choice(('*', 'id', 'count(*)'))} FROM {_WORDS.pick(rng, side)}{rng.choice(('', ' LIMIT 10'))}"),
    "cell": _pattern(lambda rng, _: f"{rng.choice('ABCDEFGH')}{rng.randint(1, 200)}"),
    "zip": _pattern(lambda rng, _: f"{rng.randint(1, 99999):05}"),
    "pin": _pattern(lambda rng, _: f"{rng.randint(0, 9999):04}"),
    "iban": _pattern(lambda rng, _: f"{rng.choice(('DE', 'AT', 'FR', 'ES'))}{rng.randint(10**11, 10**12 - 1)}"),
    "isbn": _pattern(lambda rng, _: f"978-{rng.randint(0, 9)}-{rng.randint(100, 9999)}-{rng.randint(1000, 9999)}-{rng.randint(0, 9)}"),
    "flight": _pattern(lambda rng, _: f"{rng.choice(('LH', 'BA', 'AF', 'KL', 'OS', 'DL', 'UA'))}{rng.choice(('', ' '))}{rng.randint(10, 4999)}"),
    "airport": _pattern(lambda rng, _: rng.choice(("VIE", "JFK", "LHR", "CDG", "FRA", "OSL", "MAD", "ZRH", "DUB", "BKK", "ORD", "SYD"))),
    "seat": _pattern(lambda rng, _: f"{rng.randint(1, 42)}{rng.choice('ABCDEF')}"),
    "score": _pattern(lambda rng, _: f"{rng.randint(0, 9)}{rng.choice(':-')}{rng.randint(0, 9)}"),
    "hexcolour": _pattern(lambda rng, _: f"#{rng.getrandbits(24):06X}"),
    "reason": _learned(
        "it arrived broken|the size is wrong|we are short of staff|there was a power cut|it was a mistake|nobody answered|they changed their mind|"
        "it rains too much|somebody is ill|it was booked twice|it is too expensive|the bus was late|it is out of date|the colour is wrong|I say so"
    ),
    "wish": _learned(
        "ring twice|leave it with the neighbours|no onions please|a quiet place near the door|call me before you come|extra spicy|"
        "handle with care|we have a dog|no nuts|use the back entrance|wrap it nicely|keep it simple|not before nine|gluten free"
    ),
    "symptom": _learned(
        "a sore throat|headache|back pain|a runny nose|dizziness|a dry cough|fever|a swollen ankle|stomach ache|itchy eyes|tiredness|a toothache|a skin rash"
    ),
    "fault": _learned(
        "the display stays black|it makes no contact|the battery is empty|it loses water|the handle is loose|it smells burnt|nothing happens|"
        "the wheel squeaks|it shows error 42|it starts too late|the heating stays cold|the window does not close|the plug is broken|it gets too hot"
    ),
    "question": _learned(
        "how do I reset my password|where can I park|what are the opening hours|is breakfast included|can I bring my dog|when is the next delivery|"
        "who signs the contract|do you ship abroad|what is the Wi-Fi password|how long is the warranty|may I pay by card|is there a waiting list"
    ),
    "post": _learned(
        "We are hiring two nurses|New opening hours from Monday|Thank you for 1000 followers|What a day at the beach|Our shop is closed tomorrow|"
        "Coffee first|Finally Friday|Meet our new colleague|Big sale this weekend|Who is in for a run tonight|First day at the new job|Happy New Year"
    ),
    "dish": _learned(
        "onion tart|chicken curry|tomato soup|caesar salad|veggie burger|pad thai|fish tacos|lasagne|fried rice|pancakes|apple pie|goulash|"
        "potato salad|sushi box|carrot cake|ramen"
    ),
    "medicine": _learned("ibuprofen|aspirin|paracetamol|insulin|amoxicillin|vitamin D|cough syrup|eye drops|nasal spray|iron tablets"),
    "job": _learned("nurse|electrician|data engineer|bus driver|accountant|teacher|welder|receptionist|cook|architect|gardener|translator|carpenter"),
    "skill": _learned("first aid|welding|Excel|public speaking|Spanish|bookkeeping|negotiation|Python|photography|time management|forklift driving"),
    "goal": _learned("a new bike|the kitchen|a trip to Peru|driving lessons|a rainy day|new glasses|the wedding|a piano|the roof repair|college"),
    "street": _learned("Mill Lane|the ring way|Station Street|the A4|Harbour Street|Queen Street|the old bridge|Route 66|Park Avenue|the M25|Church Lane"),
    "formula": _learned("H2O|CO2|NaCl|C6H12O6|NH3|CH4|H2SO4|CaCO3|NaOH|C2H5OH|HCl|O3"),
    "book": _learned(
        "Moby Dick|Dracula|Emma|The Trial|Walden|Ulysses|Frankenstein|Middlemarch|Treasure Island|Little Women|Don Quixote|Robinson Crusoe|Jane Eyre"
    ),
}
