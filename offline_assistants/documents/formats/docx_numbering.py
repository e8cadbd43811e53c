"""The numbers that Word shows before paragraphs and does not keep in their text: "3.2", "(a)", "iv.". People ask for clauses by them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass

from offline_assistants.documents.formats.zipped_xml import attribute, child, children

_BULLET = "-"
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))
_MAX_LEVELS = 9
_MAX_NUMBER = 100_000


@dataclass(frozen=True, slots=True)
class _Level:
    format: str
    pattern: str
    """As in "%1.%2": the numbers of the levels, from 1."""
    start: int


class Numbering:
    """Counts along with the document: ask for the labels in the order of its paragraphs."""

    def __init__(self, root: ET.Element | None) -> None:
        """`root` of the part that defines lists, if there is one."""
        lists = {} if root is None else {attribute(each, "abstractNumId"): _levels(each) for each in children(root, "abstractNum")}
        self._lists: dict[str | None, tuple[str | None, dict[int, _Level]]] = {}
        for instance in () if root is None else children(root, "num"):
            definition = _value(child(instance, "abstractNumId"))
            self._lists[attribute(instance, "numId")] = (definition, lists.get(definition, {}))
        self._counts: defaultdict[str | None, dict[int, int]] = defaultdict(dict)

    def label(self, paragraph: ET.Element, from_style: ET.Element | None) -> str:
        """What stands before a paragraph; empty when it is in no list."""
        own = child(paragraph, "pPr", "numPr")
        list_id = _value(child(own, "numId")) or _value(child(from_style, "numId"))
        if list_id is None or list_id == "0" or list_id not in self._lists:
            return ""
        depth_text = _value(child(own, "ilvl")) or _value(child(from_style, "ilvl")) or "0"
        depth = min(int(depth_text), _MAX_LEVELS - 1) if depth_text.isdecimal() else 0
        definition, levels = self._lists[list_id]
        level = levels.get(depth)
        if level is None or level.format == "none":
            return ""
        if level.format == "bullet":
            return _BULLET
        return self._count(definition, levels, depth)

    def _count(self, definition: str | None, levels: dict[int, _Level], depth: int) -> str:
        counts = self._counts[definition]
        for deeper in [each for each in counts if each > depth]:
            del counts[deeper]
        counts[depth] = counts.get(depth, levels[depth].start - 1) + 1

        def number(found: re.Match[str]) -> str:
            shown = int(found[1]) - 1
            level = levels.get(shown)
            return _shown(counts.get(shown, level.start if level else 1), level.format if level else "decimal")

        return re.sub(r"%([1-9])", number, levels[depth].pattern).strip()


def _levels(definition: ET.Element) -> dict[int, _Level]:
    found: dict[int, _Level] = {}
    for element in children(definition, "lvl"):
        depth, start = attribute(element, "ilvl") or "", _value(child(element, "start")) or "1"
        if depth.isdecimal():
            pattern = _value(child(element, "lvlText")) or ""
            found[int(depth)] = _Level(_value(child(element, "numFmt")) or "decimal", pattern, int(start) if start.isdecimal() else 1)
    return found


def _shown(number: int, style: str) -> str:
    if not 0 < number < _MAX_NUMBER:
        return str(number)
    match style:
        case "lowerLetter" | "upperLetter":
            letter = chr(ord("a") + (number - 1) % 26) * min(1 + (number - 1) // 26, 9)
            return letter.upper() if style == "upperLetter" else letter
        case "lowerRoman" | "upperRoman":
            return _roman(number).upper() if style == "upperRoman" else _roman(number)
        case _:
            return str(number)


def _roman(number: int) -> str:
    letters = ""
    for value, letter in _ROMAN:
        letters += letter * (number // value)
        number %= value
    return letters


def _value(element: ET.Element | None) -> str | None:
    return None if element is None else attribute(element, "val")
