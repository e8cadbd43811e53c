"""Parameters that have no meaning here and are accepted without effect, because refusing them would break ordinary clients. The one list of them.

An answer to a request that gives one of them says so in the header `x-ignored-parameters`. Every other parameter is honoured, or refused with a 400.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from offline_assistants.ports import ModelInfo

HEADER = "x-ignored-parameters"


@dataclass(frozen=True, slots=True)
class Ignored:
    why: str
    unless: tuple[Any, ...] = ()
    """Values that say what happens anyway, and so are no news."""


_REASONING = Ignored("This model's chat template has no word for it. Models whose template has one are told, and then nothing is ignored.")
_USER = Ignored("Nobody is watched; there is one owner.")

IGNORED: Mapping[str, Mapping[str, Ignored]] = {
    "createAssistant": {"reasoning_effort": _REASONING},
    "modifyAssistant": {"reasoning_effort": _REASONING},
    "createRun": {"reasoning_effort": _REASONING},
    "createThreadAndRun": {"reasoning_effort": _REASONING},
    "createChatCompletion": {
        "audio": Ignored("No model here speaks; the answer is text."),
        "modalities": Ignored("The answer is text.", unless=(["text"], [])),
        "moderation": Ignored("Nothing is moderated."),
        "prediction": Ignored("It would change only the speed."),
        "prompt_cache_key": Ignored("Prefixes are found again by their tokens."),
        "prompt_cache_options": Ignored("Prefixes are kept as long as there is room."),
        "prompt_cache_retention": Ignored("Prefixes are kept as long as there is room."),
        "reasoning_effort": _REASONING,
        "safety_identifier": _USER,
        "service_tier": Ignored("There is one tier.", unless=("auto", "default")),
        "stream_options.include_obfuscation": Ignored("Nobody sees the sizes of packets on one's own machine.", unless=(False,)),
        "user": _USER,
        "verbosity": Ignored("Say it in the instructions.", unless=("medium",)),
        "web_search_options": Ignored("There is no web here."),
    },
    "createCompletion": {
        "suffix": Ignored("Models here go on with a text; they do not fill a gap in it.", unless=("",)),
        "stream_options.include_obfuscation": Ignored("Nobody sees the sizes of packets on one's own machine.", unless=(False,)),
        "user": _USER,
    },
    "createEmbedding": {"user": _USER},
    "searchVectorStore": {"rewrite_query": Ignored("A model that rewrote would take longer than the search, and find no more.", unless=(False,))},
}
"""Operation id -> parameter (dotted where it is inside another) -> why."""


def ignored_parameters(operation: str, body: BaseModel, model: ModelInfo | None = None) -> list[str]:
    """Those that this body gives, and that have no effect. `model`: the one that answers, or will."""
    given = [name for name, ignored in IGNORED[operation].items() if (value := _given(body, name)) is not None and value not in ignored.unless]
    return [name for name in given if not (name == "reasoning_effort" and model is not None and model.takes_reasoning_effort)]


def ignored_header(operation: str, body: BaseModel, model: ModelInfo | None = None) -> dict[str, str]:
    """To be added to the answer's headers; empty when nothing was ignored."""
    names = ignored_parameters(operation, body, model)
    return {HEADER: ", ".join(names)} if names else {}


def _given(body: BaseModel, name: str) -> Any:
    value: Any = body
    for part in name.split("."):
        value = getattr(value, part, None) if isinstance(value, BaseModel) else None
    return value
