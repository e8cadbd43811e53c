"""Where sentences end. Knows nothing of tokens, files or models.

Used on documents, which are whole, and on answers, which arrive piece by piece; hence one question, `is_sentence_end`, that needs no more than the next
visible character. In doubt a sentence goes on: two sentences taken for one cost less than a name cut in half.
"""

from __future__ import annotations

import re

WIDE_STOPS = "。！？｡．"
"""End a sentence without a space after them."""

NARROW_STOPS = ".!?…"
CLOSERS = "\"'”’»)]}」』）】*_`"

OPENS_BLOCK = re.compile(r"[ \t]*(?:#{1,6}\s|[-*+•]\s|\d{1,3}[.)]\s|\||>|\*\*|`{3}|~{3})")
"""What a line begins with that does not go on with the one before: heading, list item, row of a table, quotation, bold title, code."""

_STOPPED = re.compile(rf"(?P<stop>[{NARROW_STOPS}{WIDE_STOPS}]+)[{re.escape(CLOSERS)}]*\Z")
_BREAK = re.compile(rf"(?:[{NARROW_STOPS}]+[{re.escape(CLOSERS)}]*(?=\s|\Z|[\u3040-\u9fff]))|(?:[{WIDE_STOPS}]+[{re.escape(CLOSERS)}]*)|\n")
_LAST_WORD = re.compile(r"[^\s(\[{\"'“‘«]*\Z")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]\Z")
_LIST_NUMBER = re.compile(r"(?:^|\n)[ \t]*(?:\d{1,3}|[^\W\d_])\Z")

_NEVER_LAST = frozenset(
    "mr mrs ms mx dr prof st mt vs cf e.g i.e eg ie dept gen rep sen gov hon capt col lt sgt rev approx ca al resp "  # noqa: SIM905
    "z.b d.h u.a bzw evtl ggf bspw vgl sog hr mme mlle sra".split()
)
_BEFORE_NUMBERS = frozenset("no nos nr fig figs eq eqs vol pp p sec ch art abs jan feb mar apr jun jul aug sep sept oct nov dec".split())  # noqa: SIM905

_LOOK_BACK = 40
_HEADING_SHARE = 0.6
_FULL_LINE_CHARS = 40


def is_sentence_end(text: str, following: str) -> bool:
    """Whether `text` ends where a sentence does, when `following` is the first visible character after it ("" where nothing follows).

    `text` may begin anywhere before the end; its last few dozen characters decide.
    """
    tail = text[-_LOOK_BACK:]
    stopped = _STOPPED.search(tail)
    if stopped is None:
        return False
    if stopped["stop"][-1] in WIDE_STOPS or not following:
        return True
    if following.islower():
        return False
    return stopped["stop"] != "." or _period_ends(tail[: stopped.start()], following)


def _period_ends(before: str, following: str) -> bool:
    """Whether a single period between `before` and `following`, with a space and no small letter behind it, ends a sentence."""
    found = _LAST_WORD.search(before)
    word = (found.group() if found else "").casefold()
    if word in _BEFORE_NUMBERS and following.isdigit():
        return False
    return not (word in _NEVER_LAST or _INITIALS.match(word) or _LIST_NUMBER.search(before))


def split_sentences(text: str) -> list[tuple[int, int]]:
    """The stretches of `text` that are sentences, without the blank space around them, in order. Blank lines, headings and list items end one too."""
    spans: list[tuple[int, int]] = []
    start = 0
    for found in _BREAK.finditer(text):
        end = found.end()
        if found.group() == "\n":
            is_end = _line_break_ends(text, start, end)
        else:
            is_end = is_sentence_end(text[max(start, end - _LOOK_BACK) : end], _first_visible(text, end))
        if not is_end:
            continue
        _append(spans, text, start, end)
        start = end
    _append(spans, text, start, len(text))
    return spans


def _line_break_ends(text: str, start: int, end: int) -> bool:
    """Whether the line break before `end` ends the sentence that began at `start`: before a blank line or a block, after a heading."""
    following = text[end : _line_end(text, end)]
    if not following.strip() or OPENS_BLOCK.match(following):
        return True
    sentence = text[start:end].strip()
    if "\n" in sentence:
        return False
    # A heading without a mark, as in text from a PDF: one line, far shorter than the next, which begins anew.
    is_heading = len(sentence) < _HEADING_SHARE * len(following) and following.lstrip()[0].isupper() and len(following) >= _FULL_LINE_CHARS
    return is_heading or sentence.startswith("#")


def _line_end(text: str, position: int) -> int:
    found = text.find("\n", position)
    return len(text) if found < 0 else found


def _first_visible(text: str, position: int) -> str:
    """The next character that is not blank; "" where a blank line or the end comes first."""
    num_newlines = 0
    while position < len(text):
        character = text[position]
        if not character.isspace():
            return character
        num_newlines += character == "\n"
        if num_newlines > 1:
            return ""
        position += 1
    return ""


def _append(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        spans.append((start, end))
