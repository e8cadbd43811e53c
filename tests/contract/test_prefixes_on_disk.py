"""Prefixes on the disk with the real model: a thread goes on after a restart, says what it would have said, and is gone when something was deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from offline_assistants.catalog import Catalog
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.pool import EnginePool
from offline_assistants.engine.prefix_files import drop_prefixes
from tests.contract.test_engines_contract import GREEDY, ask, require_starter_model

QUESTION = "Of the many things in a garden, the gardener likes these: " + "apples, roses, " * 60

pytestmark = [pytest.mark.model, pytest.mark.timeout(120)]


@pytest.fixture
def models(tmp_path: Path) -> Catalog:
    require_starter_model()
    return Catalog(tmp_path / "models", verified_path=tmp_path / "verified.json")


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_true():  # noqa: ASYNC110 - a file is not announced
            await asyncio.sleep(0.05)


def kept(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.prefix")]


async def test_a_thread_goes_on_after_a_restart_without_being_read_again(models: Catalog, tmp_path: Path):
    folder = tmp_path / "prefixes"
    options = EngineOptions(max_context_tokens=1024, prefix_folder=folder)
    async with EnginePool(models, options) as pool:
        first = await ask(pool, QUESTION, GREEDY)
        await until(lambda: bool(kept(folder)))

    async with EnginePool(models, options) as pool:
        restored = await ask(pool, QUESTION, GREEDY)

    assert first.finished and restored.finished
    assert first.finished.num_cached_tokens == 0
    assert restored.finished.num_cached_tokens > 0.7 * restored.finished.num_prompt_tokens
    assert len(restored.text) > 0


async def test_after_a_deletion_nothing_of_before_is_kept(models: Catalog, tmp_path: Path):
    folder = tmp_path / "prefixes"
    async with EnginePool(models, EngineOptions(max_context_tokens=1024, prefix_folder=folder)) as pool:
        await ask(pool, QUESTION, GREEDY)
        await until(lambda: bool(kept(folder)))

        drop_prefixes(folder)
        await ask(pool, QUESTION, GREEDY)
        await ask(pool, "And " + QUESTION, GREEDY)
        await asyncio.sleep(2.5)

        assert kept(folder) == []


async def test_a_damaged_file_is_as_good_as_none(models: Catalog, tmp_path: Path):
    folder = tmp_path / "prefixes"
    options = EngineOptions(max_context_tokens=1024, prefix_folder=folder)
    async with EnginePool(models, options) as pool:
        await ask(pool, QUESTION, GREEDY)
        await until(lambda: bool(kept(folder)))
    (name,) = kept(folder)
    with (folder / name).open("r+b") as file:
        file.seek(50_000)
        file.write(b"damage")

    async with EnginePool(models, options) as pool:
        answer = await ask(pool, QUESTION, GREEDY)

    assert answer.finished
    assert answer.finished.num_cached_tokens == 0
