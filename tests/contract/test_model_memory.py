"""What models take of the memory, what there is, and what the pool makes of the two. The models are real."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offline_assistants.catalog import Catalog
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.pool import EnginePool
from offline_assistants.errors import EngineBusy, ModelNotLoaded
from offline_assistants.machine import free_memory
from offline_assistants.ports import Chat, ChatMessage, SamplingParams

STARTER = "smollm2-135m-instruct"
HELLO = Chat((ChatMessage("user", "Hello"),))
OPTIONS = EngineOptions(max_context_tokens=1024, max_running=2)


def control_groups(folder: Path, *, version: int, limit: str, used: int, cache: int) -> tuple[Path, Path]:
    """A /proc and a /sys/fs/cgroup in which 9 GB are available."""
    proc, groups = folder / "proc", folder / "cgroup"
    place = groups / "box" if version == 2 else groups / "memory" / "box"
    for path in (proc / "self", place):
        path.mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 9000000 kB\n")
    (proc / "self" / "cgroup").write_text("0::/box\n" if version == 2 else "4:memory,hugetlb:/box\n0::/\n")
    limit_name, usage_name, prefix = ("memory.max", "memory.current", "") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
    (place / limit_name).write_text(limit)
    (place / usage_name).write_text(str(used))
    (place / "memory.stat").write_text(f"anon 1\n{prefix}inactive_file {cache}\n{prefix}active_file 1\n")
    return proc, groups


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_container_counts_and_its_file_cache_is_free(tmp_path: Path, version: int) -> None:
    proc, groups = control_groups(tmp_path, version=version, limit="1000000", used=600_000, cache=99_999)

    assert free_memory(proc, groups) == 500_000


def test_without_a_limit_what_the_kernel_calls_available_counts(tmp_path: Path) -> None:
    assert free_memory(*control_groups(tmp_path, version=2, limit="max", used=5, cache=0)) == 9_000_000 * 1024


def test_where_nothing_tells_nothing_is_assumed(tmp_path: Path) -> None:
    assert free_memory(tmp_path, tmp_path) is None


@asynccontextmanager
async def two_models(folder: Path, **options: object) -> AsyncIterator[EnginePool]:
    """The starter model, and the same under another name by a link."""
    [starter] = [each for each in Catalog(folder).list_files() if each.model_id == STARTER]
    (folder / "twin.gguf").symlink_to(starter.path)
    async with EnginePool(Catalog(folder), OPTIONS, **{"max_loaded": 2, **options}) as pool:  # pyright: ignore[reportArgumentType]
        yield pool


async def loaded(pool: EnginePool) -> list[str]:
    return [each.model_id for each in await pool.list_loaded()]


@pytest.mark.model
@pytest.mark.timeout(60)
async def test_what_a_model_takes_is_close_to_what_was_reckoned(tmp_path: Path) -> None:
    async with two_models(tmp_path) as pool:
        info = await pool.load("twin")
        async for _ in pool.generate("twin", HELLO, SamplingParams(temperature=0, max_tokens=4)):
            pass
        [now] = await pool.list_loaded()

    need = (await pool_need(tmp_path))["twin"]
    assert info.is_loaded
    assert 0.6 * need < now.memory_bytes < 1.3 * need


async def pool_need(folder: Path) -> dict[str, int]:
    async with EnginePool(Catalog(folder), OPTIONS) as pool:
        return {each.model_id: each.memory_bytes or 0 for each in await pool.list_models()}


async def test_a_model_that_does_not_fit_is_refused_with_the_numbers_and_the_way_round(tmp_path: Path) -> None:
    write_model(tmp_path / "large.gguf")
    async with EnginePool(Catalog(tmp_path), OPTIONS, free_memory=lambda: 100_000_000) as pool:
        with pytest.raises(
            ModelNotLoaded, match=r"'large' needs about \d\.\d GB .* context of 1024 tokens .* and 0\.1 GB are free.*--max-model-memory-bytes 1000000000"
        ):
            await pool.load("large")


@pytest.mark.model
@pytest.mark.timeout(60)
async def test_two_models_stay_in_memory_while_there_is_room_and_else_the_idle_one_goes(tmp_path: Path) -> None:
    async with two_models(tmp_path) as pool:
        for name in (STARTER, "twin"):
            await pool.load(name)
        both = await loaded(pool)
    (tmp_path / "twin.gguf").unlink()
    async with two_models(tmp_path, max_memory_bytes=500_000_000) as pool:
        for name in (STARTER, "twin"):
            await pool.load(name)
        one = await loaded(pool)

    assert (both, one) == ([STARTER, "twin"], ["twin"])


@pytest.mark.model
@pytest.mark.timeout(60)
async def test_an_idle_model_leaves_after_its_time_and_comes_back_when_asked(tmp_path: Path) -> None:
    async with two_models(tmp_path, keep_alive_s=0.3) as pool:
        await pool.load("twin")
        [process_id] = pool.process_ids
        async with asyncio.timeout(20):
            while await loaded(pool):  # noqa: ASYNC110 nothing announces it
                await asyncio.sleep(0.05)
        await pool.load("twin")

        assert pool.process_ids not in ([], [process_id])


@pytest.mark.model
@pytest.mark.timeout(60)
async def test_a_model_that_answers_stays_and_is_not_unloaded(tmp_path: Path) -> None:
    async with two_models(tmp_path, keep_alive_s=0.05) as pool:
        answer = pool.generate("twin", HELLO, SamplingParams(temperature=0, max_tokens=64))
        await anext(answer)
        await asyncio.sleep(0.2)

        with pytest.raises(EngineBusy, match="is answering"):
            await pool.unload("twin")
        [now] = await pool.list_loaded()
        await answer.aclose()

    assert (now.num_requests, now.idle_s, now.leaves_in_s) == (1, None, None)


async def test_kept_for_ever_is_infinity(tmp_path: Path) -> None:
    async with EnginePool(Catalog(tmp_path), OPTIONS, keep_alive_s=math.inf) as pool:
        assert await pool.list_loaded() == []


def write_model(path: Path) -> None:
    from tests.contract.test_catalog import gguf

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gguf(block_count=30, embedding_length=4096, feed_forward_length=16384))
