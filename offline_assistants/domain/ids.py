"""Names for new objects, in the forms that clients have learnt to parse."""

from __future__ import annotations

import random
import string
from collections.abc import Callable

Clock = Callable[[], int]
"""The present, in integer Unix seconds."""

_ALPHABET = string.ascii_letters + string.digits
_LENGTHS = {
    "asst_": 24,
    "thread_": 24,
    "msg_": 24,
    "run_": 24,
    "step_": 24,
    "call_": 24,
    "file-": 22,
    "vs_": 24,
    "vsfb_": 32,
    "upload_": 32,
    "part_": 32,
    "chatcmpl-": 29,
    "cmpl-": 29,
    "key_": 24,
}
_HEX = frozenset({"vsfb_", "upload_", "part_"})


class Ids:
    """Draws ids from one source of randomness. Only letters and digits follow the prefix: clients find ids in error texts by that."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def new(self, prefix: str) -> str:
        """An id such as `run_PS0ksndVoX7DxtmdXn66ZMXU`. Raises KeyError for a prefix that no object has."""
        alphabet = "0123456789abcdef" if prefix in _HEX else _ALPHABET
        return prefix + "".join(self._rng.choices(alphabet, k=_LENGTHS[prefix]))
