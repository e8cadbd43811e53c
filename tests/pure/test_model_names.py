"""Which model a name means: aliases, and the default model."""

from __future__ import annotations

import pytest

from offline_assistants.domain.model_aliases import ModelAliases
from offline_assistants.engine.aliased_engines import default_of
from offline_assistants.ports import ModelInfo
from offline_assistants.settings import HOSTED_NAMES


def info(model_id: str, size_bytes: int, **more: bool) -> ModelInfo:
    return ModelInfo(model_id, 0, size_bytes, False, None, **more)


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-4.1-mini", "gpt-3.5-turbo-instruct", "o1", "o3-mini", "o4-mini", "chatgpt-4o-latest", "davinci-002"])
def test_hosted_names_stand_for_the_default_model(name: str) -> None:
    alias = ModelAliases.read(HOSTED_NAMES).find(name)

    assert alias is not None
    assert (alias.target, alias.is_for_embeddings) == (None, False)


@pytest.mark.parametrize("name", ["", "llama", "my-gpt-4o", "GPT-4o", "smollm2-135m-instruct", "davinci-003"])
def test_other_names_stand_for_nothing(name: str) -> None:
    assert ModelAliases.read(HOSTED_NAMES).find(name) is None


def test_the_first_entry_that_fits_counts() -> None:
    aliases = ModelAliases.read(["gpt-4o = big", "gpt-*"])

    assert [alias and alias.target for alias in map(aliases.find, ("gpt-4o", "gpt-5"))] == ["big", None]


def test_an_empty_entry_means_none() -> None:
    assert ModelAliases.read([""]).entries == ()


def test_the_default_is_the_largest_that_the_user_brought() -> None:
    models = [info("packaged", 9, is_packaged=True), info("small", 1), info("large", 5), info("damaged", 7, is_damaged=True)]

    assert default_of(models) == models[2]


def test_without_one_it_is_the_packaged_one_and_without_any_none() -> None:
    assert default_of([info("packaged", 9, is_packaged=True)]) is not None
    assert default_of([info("damaged", 9, is_damaged=True)]) is None
    assert default_of([]) is None
