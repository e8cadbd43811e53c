"""The words of a text as they count when texts are compared: stemmed, case-folded, numbers in one form, small words left out. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

Kind = Literal["word", "name", "number"]

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Scripts in which words are not, or not only, separated by spaces: Thai, Lao, Burmese, Khmer, kana, Han, Hangul."""
TOKEN = re.compile(rf"(?P<unspaced>[{UNSPACED}]+)|(?P<number>\d+(?:[.,:]\d+)*[^\W{UNSPACED}]*)|(?P<word>[^\W{UNSPACED}]+(?:['’][^\W{UNSPACED}]+)*)")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?\Z")
_GROUPED_BY_PERIODS = re.compile(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?\Z")
_ANSWER = re.compile(r"\s*(?:no|nein|non)\b[,.:;!]", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[,;:.!?()—–]\s|[—–]|\b(?:but|and|so|because|although|though)\b")
_SCOPE_WORDS = 4
_SCOPE_CHARS = 120
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)\Z")

_COUNTED = """
    two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty
    """.split()  # noqa: SIM905
_NUMBER_WORDS = {word: str(number) for number, word in enumerate(_COUNTED, start=2)}
SMALL_WORDS = frozenset(
    """
    a about above after again all also am among an and any are as at be because been before being below between both but by can could did do does doing done
    down during each either else ever every few for from further get gets got had has have having he her here hers herself him himself his how however i if in
    into is it its itself just like made make makes many may me might more most much must my myself of off often on once one only or other our ours out over
    own per rather same shall she should since so some such than that the their theirs them themselves then there therefore these they this those though
    through thus to too toward towards under until up upon us very via was we were what when where whether which while who whom whose why will with within
    would yet you your yours yourself said say says according
    der die das den dem des ein eine einer eines einem einen und oder ist sind war waren wird werden auf aus bei mit nach von vor zu zum zur im am für als
    auch dass es sich le la les un une des du de et ou est sont dans sur pour par avec que qui el los las una y o es son en con por para del
    """.split()  # noqa: SIM905
)
NEGATION = re.compile(
    r"\b(?:no|not|nor|none|never|neither|nobody|nothing|cannot|without|nicht|kein|keinen?|nie|pas|jamais|ningún|nunca|\w+n['’]t)\b", re.IGNORECASE
)
_SUFFIXES = (
    ("s", "'s"),
    ("izations", "isations", "ization", "isation", "fulness", "iveness", "ational", "ation", "ment", "ingly", "edly", "ing", "ness", "ion", "ied", "ie", "ive"),
    ("ably", "ible", "able", "ally", "ed", "er", "or", "ly", "al", "e", "y", "i"),
)
"""Taken off in this order, at most one of each line."""
_SHORTEST_STEM = 4


@dataclass(frozen=True, slots=True)
class Word:
    stem: str
    kind: Kind


def words(text: str) -> Iterator[Word]:
    """The words of `text` that carry meaning, in order. Text without spaces between words comes as pairs of characters."""
    is_first = True
    for found in TOKEN.finditer(text):
        token = found.group()
        if found["unspaced"]:
            pairs = [token[at : at + 2] for at in range(len(token) - 1)] or [token]
            yield from (Word(pair, "word") for pair in pairs)
        elif found["number"]:
            yield Word(number_form(token.casefold()), "number")
        else:
            yield from _word(token, is_first=is_first)
        is_first = False


def negated_stems(text: str) -> frozenset[str]:
    """The stems of what `text` says is not so: the next few words after a "not", up to a comma or stop. A "No" that answers a question does not count."""
    text = _ANSWER.sub("", text)
    stems: set[str] = set()
    for found in NEGATION.finditer(text):
        clause = _CLAUSE_END.split(text[found.end() : found.end() + _SCOPE_CHARS], maxsplit=1)[0]
        stems.update(word.stem for word in islice(words(clause), _SCOPE_WORDS))
    return frozenset(stems)


def _word(token: str, *, is_first: bool) -> Iterator[Word]:
    folded = fold(token)
    if folded in _NUMBER_WORDS:
        yield Word(_NUMBER_WORDS[folded], "number")
        return
    if NEGATION.fullmatch(token):
        return
    kind: Kind = "name" if token[0].isupper() and (not is_first or token[1:].isupper()) else "word"
    for part in re.split("['’]", folded):
        if len(part) > 1 and part not in SMALL_WORDS:
            yield Word(stem(part), kind)


def fold(token: str) -> str:
    """Without case and accents."""
    if token.isascii():
        return token.lower()
    return "".join(character for character in unicodedata.normalize("NFKD", token.casefold()) if not unicodedata.combining(character))


def stem(folded: str) -> str:
    """A rough stem: what is left without common English endings, never shorter than four letters."""
    for suffixes in _SUFFIXES:
        if not folded.endswith(suffixes):  # asked once for all of them: most words have none
            continue
        for suffix in suffixes:
            if folded.endswith(suffix) and len(folded) - len(suffix) >= _SHORTEST_STEM:
                folded = folded[: -len(suffix)]
                break
    return folded


def number_form(token: str) -> str:
    """ "1,234.50", "1.234,5", "2nd" and "007" in one form each."""
    if ordinal := _ORDINAL.match(token):
        token = ordinal[1]
    elif _GROUPED.match(token):
        token = token.replace(",", "")
    elif _GROUPED_BY_PERIODS.match(token):
        token = token.replace(".", "").replace(",", ".")
    whole, point, fraction = token.partition(".")
    fraction = fraction.rstrip("0") if fraction.isdigit() else fraction
    return (whole.lstrip("0") or "0") + (point + fraction if fraction else "")
