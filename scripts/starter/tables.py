"""Tables of many topics and programs that answer questions about them. Every column and file gets a name of its own for each conversation."""

from __future__ import annotations

import csv
import datetime
import io
import json
import random
from dataclasses import dataclass

from pools import Side

# Names of the file | rows are called | categories name=values | numbers name:low-high:digits | date
_TRAIN = """
sales revenue shop_sales|product=lamp,chair,table,sofa,desk;region=north,south,east,west|units:1-90:0;price:5-400:2;discount:0-30:1|sold_on
employees staff people_data|department=sales,finance,support,legal,research;office=Berlin,Madrid,Oslo|salary:2000-9000:0;age:19-66:0;years:0-30:0|hired_on
students marks grades_list|subject=maths,physics,history,art,music;class=8a,8b,9a,9b|score:1-100:0;absences:0-20:0;homework:0-12:0|tested_on
weather_log climate temperatures|station=airport,harbour,hill,centre|temperature:-15-38:1;rain:0-60:1;wind:0-110:0|measured_on
houses flats real_estate|type=house,flat,studio,villa;district=centre,riverside,station,suburb|rent:300-4000:0;area:18-300:0;rooms:1-9:0|listed_on
cars vehicles fleet|brand=Volta,Kestrel,Orion,Tundra;fuel=petrol,diesel,electric,hybrid|mileage:500-200000:0;power:40-400:0;price:900-60000:0|registered
runners race_results marathon|club=Harriers,Striders,Rovers,Flyers;category=junior,senior,veteran|minutes:30-290:1;age:16-78:0;bib:1-900:0|raced_on
books library catalogue|genre=novel,thriller,poetry,biography,science;language=English,German,French|pages:60-1200:0;rating:1-5:1;copies:1-40:0|published
orders web_orders purchases|status=open,shipped,returned,cancelled;country=France,Spain,Italy,Norway|total:5-900:2;items:1-20:0;weight:0-30:2|ordered
calls call_center tickets_log|agent=Anna,Ben,Clara,David;topic=billing,login,delivery,refund|duration:10-1800:0;waiting:0-600:0;satisfaction:1-5:0|called_on
patients clinic visits|ward=surgery,children,heart,eyes;insurance=public,private|days:1-40:0;costs:80-20000:2;age:1-95:0|admitted
energy power_use meters|building=school,hall,pool,office;meter=main,backup|kwh:5-900:1;peak:1-90:1;outages:0-5:0|read_on
animals zoo farm_animals|species=goat,sheep,cow,pig,horse;barn=east,west,old|weight:20-800:1;age:1-25:0;feed:1-30:1|born
films movies cinema|genre=comedy,drama,horror,action;studio=Bluebird,Northlight,Cobra|length:70-200:0;budget:1-200:1;tickets:100-90000:0|released
players league football|team=Reds,Blues,Greens,Whites;position=goal,defence,midfield,attack|goals:0-35:0;assists:0-20:0;minutes:90-3400:0|signed
trees forest park_trees|kind=oak,birch,larch,maple,pine;park=city park,hill park,lake park|height:2-40:1;girth:20-400:0;health:1-10:0|planted
flights airport departures|airline=Skyway,Aerion,Nordwind;gate=A,B,C|delay:0-240:0;passengers:20-380:0;fuel:800-9000:0|flown_on
invoices billing receivables|client=Acme,Borg,Cyan,Delta;state=paid,due,late|amount:20-9000:2;tax:1-900:2;reminders:0-4:0|issued
restaurants menus food|cuisine=thai,greek,indian,mexican;part=old town,harbour,market|seats:8-200:0;stars:1-5:1;dish_price:6-45:2|opened
workouts training fitness|sport=running,swimming,rowing,cycling;intensity=low,middle,high|calories:50-1200:0;heart_rate:80-190:0;km:1-60:1|trained_on
phones devices gadgets|maker=Novo,Pixelon,Tal,Wave;color=black,silver,blue|battery:1500-6000:0;storage:16-512:0;cost:90-1500:2|launched
lakes rivers waters|state=clean,murky,dry;valley=upper,lower,middle|depth:1-300:1;length:1-900:0;fish:0-5000:0|surveyed
donations charity gifts|channel=letter,web,street,event;project=wells,schools,seeds|sum:5-2000:0;donors:1-90:0;fee:0-20:2|given_on
trains punctuality rail_data|line=S1,S2,S3,RE7;direction=in,out|late:0-90:0;seats_used:10-600:0;speed:40-250:0|ran_on
"""
_HELD_OUT = """
beehives apiary honey_yield|breed=carniolan,buckfast,caucasian;meadow=clover,heather,linden|honey:2-60:1;frames:4-22:0;mites:0-40:0|inspected
kilns pottery glazes|glaze=celadon,tenmoku,shino,raku;clay=stoneware,porcelain,terracotta|firing:700-1400:0;shrinkage:1-15:1;cracks:0-9:0|fired_on
vineyards wine_harvest cellars|grape=riesling,merlot,syrah,malbec;slope=sunny side,shady side|sugar:60-130:0;barrels:1-80:0;acidity:3-12:1|picked
lighthouses beacons coast|tower=granite,timber,iron;coast=skerry,lagoon,fjord|range_nm:5-30:0;steps:20-300:0;flashes:1-12:0|built
telescopes observations sky_log|object=nebula,comet,quasar,asteroid;dome=copper dome,white dome|magnitude:1-20:1;exposure:5-900:0;seeing:0-6:2|observed
choirs concerts_log performances|voice=soprano,alto,tenor,bass;venue=abbey,gazebo,amphitheatre|singers:4-120:0;applause:10-600:0;wages:0-900:2|performed
mushrooms fungi foraging|mushroom=chanterelle,morel,porcini,truffle;woodland=beechwood,spruce stand|grams:5-900:0;caps:1-60:0;worms:0-9:0|gathered
turbines windpark generators|turbine=T-Alpha,T-Beta,T-Gamma;sector=ridge,plateau,offshore|gusts:3-45:1;output_mw:0-9:2;stops:0-15:0|logged
looms weaving textiles|pattern=twill,damask,herringbone,gingham;fibre=linen,hemp,cashmere|metres_woven:2-200:1;threads:100-4000:0;knots:0-50:0|woven
mountain_huts shelters alpine|hut_keeper=Resi,Toni,Vroni;ridge=north face,saddle,spur|altitude:900-3600:0;bunks:4-90:0;takings:50-4000:2|opened_hut
"""

_SUFFIXES = ("", "", "", "", "", "_value", "_1", "_total", "_x", "_nr", "_raw", "_2024", "_avg", "_net")


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    """As in the file."""
    said: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    file: str
    label: Column
    categories: tuple[Column, ...]
    numbers: tuple[Column, ...]
    date: Column
    rows: tuple[tuple[str | float, ...], ...]

    @property
    def path(self) -> str:
        return f"/mnt/data/{self.file}"

    @property
    def columns(self) -> tuple[Column, ...]:
        return (self.label, *self.categories, *self.numbers, self.date)

    def content(self) -> bytes:
        """The file, for endings csv and json."""
        names = [column.name for column in self.columns]
        if self.file.endswith(".json"):
            return json.dumps([dict(zip(names, row, strict=True)) for row in self.rows]).encode()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([names, *self.rows])
        return text.getvalue().encode()


def topics(side: Side) -> list[str]:
    return (_TRAIN if side == "train" else _HELD_OUT).strip().splitlines()


def make_table(rng: random.Random, side: Side, *, endings: tuple[str, ...] = ("csv",)) -> Table:
    """A table of a topic of this side, with names, columns and values of its own."""
    files, categories, numbers, date = rng.choice(topics(side)).split("|")
    style = rng.choice("plain plain plain upper title spaced camel".split())
    stem = rng.choice(files.split()) + rng.choice(("", "", "", f"_{rng.randint(2015, 2026)}", f"{rng.randint(1, 99)}", "-final", "_export", "_q" + str(rng.randint(1, 4))))
    taken: set[str] = set()

    def column(base: str, values: tuple[str, ...] = ()) -> Column:
        while True:
            name = _styled(base + rng.choice(_SUFFIXES), style)
            if name not in taken:
                taken.add(name)
                return Column(name, base.replace("_", " "), values)

    label = column(rng.choice(("name", "id", "label", "no", "ref")))
    cats = [each.partition("=") for each in categories.split(";")]
    chosen_cats = tuple(column(name, tuple(values.split(","))) for name, _, values in rng.sample(cats, rng.randint(1, len(cats))))
    nums = [each.split(":") for each in rng.sample(numbers.split(";"), rng.randint(2, 3))]
    chosen_nums = tuple(column(name) for name, _, _ in nums)
    day = column(date)
    rows: list[tuple[str | float, ...]] = []
    start = datetime.date(rng.randint(2018, 2024), 1, 1)
    for i in range(rng.randint(6, 24)):
        numbers_of_row = [_number(bounds, int(digits), rng) for _, bounds, digits in nums]
        on = start + datetime.timedelta(days=rng.randint(0, 700))
        rows.append((f"{stem[0].upper()}{i + 1:02}", *(rng.choice(each.values) for each in chosen_cats), *numbers_of_row, on.isoformat()))
    return Table(f"{stem}.{rng.choice(endings)}", label, chosen_cats, chosen_nums, day, tuple(rows))


def _number(bounds: str, digits: int, rng: random.Random) -> float:
    low, high = bounds.rsplit("-", 1)
    value = round(rng.uniform(float(low), float(high)), digits)
    return value if digits else int(value)


def _styled(name: str, style: str) -> str:
    match style:
        case "upper":
            return name.upper()
        case "title":
            return name.replace("_", " ").title().replace(" ", "_")
        case "spaced":
            return name.replace("_", " ").capitalize()
        case "camel":
            first, *more = name.split("_")
            return first + "".join(word.capitalize() for word in more)
        case _:
            return name
