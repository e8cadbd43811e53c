"""Names and words that nobody has read before, for training: what a small model has seen often it says by heart, what it has never seen it has to copy."""

from __future__ import annotations

import random


def _words(text: str) -> list[str]:
    """Between bars, or between spaces where there are none."""
    return text.split("|" if "|" in text else " ")


_ONSETS = _words("b br c ch cl d dr f fl g gr h j k kl l m n p pl pr qu r s sch sh sk sl st str sz t tr v w y z zh")
_NUCLEI = _words("a a a e e e i i o o u y ai au ea ei ia ie oa oo ou")
_CODAS = ["", "", "", "", "n", "r", "l", "s", "m", "k", "t", "nd", "rk", "lm", "st", "x", "ng", "rt", "ss", "ck"]
_PLACE_ENDS = _words("ton burg ville ford field stad grad mouth by ham dorf port bury heim ova ino ada ia holm wick vik abad pur")
_SURNAME_ENDS = ["", "", "", "son", "ov", "ski", "sen", "man", "er", "ez", "ini", "ova", "ic", "ak", "well", "stein"]
_ADJECTIVES = _words(
    "old new small big red blue grey green yellow dark bright heavy light wooden steel plastic paper round square long short folding electric cordless "
    "portable cheap antique foldable striped padded leather cotton woollen digital manual spare broken double single outdoor indoor kids "
    "travel pocket wide narrow"
)
_THINGS = _words(
    "lamp chair table shelf ladder hammer bucket bottle jar plate bowl spoon fork pan oven mixer heater fan radio speaker camera tripod "
    "printer scanner router modem tablet laptop mouse cable plug switch battery torch clock watch ring bracelet scarf glove hat jacket coat shirt "
    "boot sandal belt bag suitcase rucksack stroller cradle doll kite ball racket helmet pump tyre trailer mower rake hose pot "
    "vase candle frame poster carpet curtain cushion mattress towel brush comb razor soap mop broom bin locker safe desk stool bench sofa"
)
_EVENTS = _words(
    "report budget lunch dinner check-up holiday return repair party interview kickoff survey drill class club evening payment upgrade launch review meeting "
    "lesson session delivery training release visit audit workshop sale exam rehearsal call deadline inspection contract renewal order walk match course"
)
_OF_WHAT = _words(
    "team customer kitchen garden office school tax car house bike dog cat swimming piano guitar cooking language sales press safety budget website server "
    "network software hardware roof heating water power window door summer winter spring christmas easter monday weekend morning night family parent "
    "teacher doctor eye tooth knee back heart partner investor supplier warehouse factory farm city county tennis football hockey ski chess book film music"
)
_SUBJECTS = _words(
    "the parcel|the train|the bus|the car|the printer|the meeting|the report|the door|the window|the heating|the plane|the taxi|dinner|lunch|the cake|"
    "your order|your table|your room|my phone|my laptop|the server|the website|the list|the contract|the offer|the new chair|the doctor|the teacher|"
    "our guest|the child|the dog|the boss|the driver|the key|the bill|the shop|the lesson|the film|the show|the photo"
)
_PREDICATES = _words(
    "is ready|is late|is here|has arrived|is broken|is lost|is fixed|has to wait|comes later|is too small|costs too much|was great|was cancelled|is open|"
    "is closed|starts soon|is over|needs a new part|will be back|is on the desk|is in the cellar|has left|was sold|looks good|is not working|was a surprise"
)
_TIMES = ["", "", "", " today", " tomorrow", " at five", " on Friday", " again", " this week", " next month", " since noon", " in the morning", " for now"]


def syllables(rng: random.Random, least: int, most: int) -> str:
    """A word that can be spoken, in lower case."""
    return "".join(rng.choice(_ONSETS) + rng.choice(_NUCLEI) + (rng.choice(_CODAS) if rng.random() < 0.5 else "") for _ in range(rng.randint(least, most)))


def word(rng: random.Random) -> str:
    return syllables(rng, 2, 3) if rng.random() < 0.5 else rng.choice(_THINGS)


def first_name(rng: random.Random) -> str:
    return (syllables(rng, 1, 2) + rng.choice(("", "a", "o", "i", "e", "n", "us", "ette", "in", "el"))).capitalize()


def last_name(rng: random.Random) -> str:
    name = (syllables(rng, 1, 2) + rng.choice(_SURNAME_ENDS)).capitalize()
    return rng.choice(("", "", "", "", "", "", "", "Mc", "O'", "de ", "van ", "El ")) + name


def place(rng: random.Random) -> str:
    name = (syllables(rng, 1, 2) + rng.choice(("", *_PLACE_ENDS))).capitalize()
    return rng.choice(("", "", "", "", "", "", "", "", "San ", "New ", "Port ", "Upper ", "Saint-", "Bad ")) + name


def front(rng: random.Random) -> str:
    """The first word in the name of a house or a company."""
    return place(rng) if rng.random() < 0.5 else rng.choice(_ADJECTIVES).capitalize() + rng.choice(_THINGS)


def thing(rng: random.Random) -> str:
    return " ".join((rng.choice(_ADJECTIVES), *([rng.choice(_OF_WHAT)] if rng.random() < 0.2 else []), rng.choice(_THINGS)))


def item(rng: random.Random) -> str:
    return rng.choice(_THINGS) + "s" if rng.random() < 0.5 else rng.choice(_ADJECTIVES) + " " + rng.choice(_THINGS) + "s"


def topic(rng: random.Random) -> str:
    """What an appointment or a message is about."""
    name = f"{rng.choice(_OF_WHAT)} {rng.choice(_EVENTS)}"
    return f"{name} with {first_name(rng)}" if rng.random() < 0.15 else name


def title(rng: random.Random) -> str:
    """Of a book, a song, a house, a restaurant."""
    form = rng.choice(("{a} {b}", "The {a} {b}", "{b} and {c}", "The {b} of {n}", "{n}", "{n} {b}", "A {b} in {p}"))
    return form.format(
        a=rng.choice(_ADJECTIVES).capitalize(),
        b=rng.choice(_THINGS).capitalize(),
        c=rng.choice(_THINGS).capitalize(),
        n=first_name(rng),
        p=place(rng),
    )


def message(rng: random.Random) -> str:
    """What somebody is told."""
    said = f"{rng.choice(_SUBJECTS)} {rng.choice(_PREDICATES)}{rng.choice(_TIMES)}"
    return f"{said}, {rng.choice(('call me', 'sorry', 'please wait', 'thank you', first_name(rng)))}" if rng.random() < 0.2 else said
