"""The words that conversations are made of, split into those for training and those that evaluation alone uses, before anything is generated."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scripts.starter import invented

INVENTED_SHARE = 0.6
Side = Literal["train", "held_out"]


@dataclass(frozen=True, slots=True)
class Pool:
    """Words of one kind on both sides of the split; none is on both. `invent` makes more of them for training, where the same few would be learned by heart."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    invent: Callable[[random.Random], str] | None = field(default=None, compare=False)

    def of(self, side: Side) -> tuple[str, ...]:
        return self.train if side == "train" else self.held_out

    def pick(self, rng: random.Random, side: Side) -> str:
        return rng.choice(self.held_out) if side == "held_out" else self.sample(rng, side, 1)[0]

    def sample(self, rng: random.Random, side: Side, count: int) -> list[str]:
        """So many different words. Raises ValueError when there are not so many."""
        if side == "held_out" or self.invent is None:
            return rng.sample(self.of(side), count)
        found: list[str] = []
        while len(found) < count:
            word = self.invent(rng) if rng.random() < INVENTED_SHARE else rng.choice(self.train)
            if word not in found and word not in self.held_out:
                found.append(word)
        return found


TOPICS_DIR = Path(__file__).with_name("topics")


def topic_lines(name: str, side: Side) -> list[str]:
    """The lines of topics/NAME_SIDE.txt."""
    return (TOPICS_DIR / f"{name}_{side}.txt").read_text(encoding="utf-8").splitlines()


def pool(train: str, held_out: str, invent: Callable[[random.Random], str] | None = None) -> Pool:
    """From two texts with a word, or words, between bars."""
    sides = [tuple(each.strip() for each in text.split("|") if each.strip()) for text in (train, held_out)]
    both = set(sides[0]) & set(sides[1])
    if both:
        raise ValueError(f"on both sides of the split: {sorted(both)}")
    return Pool(sides[0], sides[1], invent)


CITIES = pool(
    "Paris|Oslo|Madrid|Cairo|Tokyo|Boston|Lima|Dublin|Vienna|Prague|Sydney|Toronto|Chicago|Berlin|Rome|Athens|Mumbai|Seoul|Bangkok|Denver|Munich|Geneva|"
    "Warsaw|Zurich|Milan|Porto|Seville|Bristol|Leeds|Dallas|Austin|Quito|Havana|Lagos|Accra|Dakar|Tunis|Riga|Vilnius|Sofia|Delhi|Osaka|Kyoto|Manila|"
    "Hanoi|Perth|Auckland|Montreal|San Diego|New York|Los Angeles|Hong Kong|Buenos Aires|Rio de Janeiro|Cape Town|Tel Aviv|Salt Lake City|St. Gallen",
    "Lisbon|Helsinki|Nairobi|Melbourne|Krakow|Valencia|Hamburg|Seattle|Tallinn|Bogota|Jakarta|Marseille|Edinburgh|Las Vegas|Sao Paulo|Ljubljana|Graz|Gdansk",
    invented.place,
)
COUNTRIES = pool(
    "France|Norway|Spain|Egypt|Japan|Peru|Ireland|Austria|Australia|Canada|Germany|Italy|Greece|India|Thailand|Switzerland|Poland|Brazil|Chile|Ghana",
    "Portugal|Finland|Kenya|Estonia|Colombia|Indonesia|Slovenia|Morocco|Vietnam|Iceland",
)
FIRST_NAMES = pool(
    "Anna|Ben|Clara|David|Emma|Felix|Grace|Hugo|Ines|Jonas|Kira|Leo|Maria|Nina|Omar|Paula|Quentin|Rosa|Samuel|Tina|Umar|Vera|Walter|Xenia|Yusuf|Zoe|"
    "Priya|Wei|Aisha|Carlos|Fatima|Goran|Helga|Ivan|Joanna|Kenji|Lars|Mei|Noah|Olga|Peter|Ravi|Sofie|Tom|Linda|Mark|Julia|Chris|Sandra|Mike",
    "Amelie|Bruno|Dagmar|Elif|Farid|Greta|Henrik|Imani|Jasper|Katya|Lorenzo|Mirela|Nadia|Oscar|Pilar|Rashid|Svenja|Tariq|Ulla|Viktor",
    invented.first_name,
)
LAST_NAMES = pool(
    "Meyer|Smith|Garcia|Rossi|Novak|Olsen|Kim|Tanaka|Silva|Brown|Jones|Khan|Patel|Dubois|Weber|Fischer|Lopez|Nguyen|Kowalski|Ivanov|Moreau|Costa|Berg|Lind|"
    "Walsh|Murphy|Okafor|Mensah|Haddad|Cohen|Schmidt|Keller|Baker|Turner|Hill|Adams",
    "Lindqvist|Marchetti|Oyelaran|Petrov|Quispe|Reinhardt|Sandoval|Takahashi|Ulrich|Vasquez|Whitaker|Yildiz|Zielinski|Abernathy",
    invented.last_name,
)
PRODUCTS = pool(
    "desk lamp|office chair|coffee mug|usb cable|notebook|backpack|water bottle|keyboard|monitor stand|headphones|wall clock|toaster|rain jacket|tent|"
    "bike helmet|"
    "garden hose|paint brush|drill|screwdriver set|yoga mat|phone case|charger|blanket|pillow|frying pan|kettle|umbrella|wallet|sunglasses|running shoes",
    "espresso machine|hammock|telescope|sewing kit|wheelbarrow|soldering iron|snow shovel|picnic basket|bread knife|ukulele|fountain pen|door mat",
    invented.thing,
)
TOPICS = pool(
    "quarterly report|marketing budget|team lunch|house insurance|dentist|summer holiday|tax return|car repair|birthday party|job interview|project kickoff|"
    "customer survey|fire drill|yoga class|book club|parent evening|rent payment|server upgrade|product launch|vaccination|code review|board meeting|"
    "guitar lesson|haircut|gym session|library books|flight to Rome|piano tuning|staff training|press release",
    "roof inspection|choir rehearsal|passport renewal|chess tournament|wine tasting|boiler service|thesis defence|charity run|stock taking|garden fence|"
    "opera tickets|moving van",
    invented.topic,
)
TEXTS = pool(
    "I am running late|the meeting is cancelled|please call me back|see you tomorrow|dinner is ready|thanks for your help|the parcel has arrived|"
    "can we talk on Monday|happy birthday|the printer is broken again|we need more paper|your order is ready|the keys are on the table|good luck today|"
    "the train is delayed|I will be there at six|don't forget the milk|the invoice is attached|please send me the slides|everything went well",
    "the plumber comes at noon|I left my umbrella at your place|the concert was wonderful|we ran out of flour|your cat is in our garden|"
    "the lift is stuck again|"
    "the samples look fine|bring warm clothes|the deadline has moved|I found your scarf",
    invented.message,
)
ITEM_LISTS = pool(
    "milk|eggs|bread|butter|apples|rice|cheese|tea|sugar|onions|pasta|bananas|salt|flour|tomatoes|soap|batteries|candles|napkins|pens",
    "leeks|yeast|lentils|honey|garlic|oats|figs|vinegar|sponges|matches",
    invented.item,
)
PLAIN_TOPICS = pool(
    "photosynthesis|gravity|the moon|rainbows|bees|volcanoes|the Roman Empire|jazz music|chess|democracy|vitamins|glaciers|whales|electricity|"
    "the printing press|"
    "Shakespeare|bicycles|tides|earthquakes|coral reefs|the human heart|recycling|black holes|solar power|inflation|dinosaurs|the Great Wall of China|sleep|"
    "chocolate|trees|friendship|reading|patience|winter|the ocean|computers|the alphabet|money|maps|bridges|honesty|music|painting|gardens|trains|cats|"
    "dogs|rivers",
    "penguins|magnets|the Renaissance|ballet|thunder|deserts|the compass|poetry|fungi|evaporation|libraries|telescopes in general|curiosity|autumn|coins|"
    "elephants|"
    "sailing|pottery|snow|the pyramids|courage|windmills|lighthouses|kites|mirrors",
)
