"""The worker process of a model when things go wrong: it is killed, has no memory, or is given files that are not what they say. Real model, real signals."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import struct
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offline_assistants.catalog import Catalog
from offline_assistants.engine.kv_cache import Aborted
from offline_assistants.engine.model_runner import ModelRunner
from offline_assistants.engine.options import EngineOptions, LoraAdapter
from offline_assistants.engine.pool import EnginePool
from offline_assistants.engine.scheduler import BatchItem
from offline_assistants.errors import EngineBusy, EngineError, ModelNotLoaded, OfflineAssistantsError
from offline_assistants.ports import Chat, ChatMessage, SamplingParams, ToolSpec
from tests.contract.test_engines_contract import GREEDY, STARTER, ask, require_starter_model, user
from tests.tiny_adapter import write_adapter

SMALL = EngineOptions(max_context_tokens=512)
LONG = EngineOptions(max_context_tokens=4096)

pytestmark = [pytest.mark.model, pytest.mark.timeout(120)]


@pytest.fixture
def models(tmp_path: Path) -> Catalog:
    require_starter_model()
    return Catalog(tmp_path, verified_path=tmp_path / "verified.json")


def starter_file(models: Catalog) -> Path:
    return next(file.path for file in models.list_files() if file.model_id == STARTER)


async def another_worker(pool: EnginePool, known: int) -> int:
    """The id of the loaded worker's process, once it is not the one that is known."""
    async with asyncio.timeout(60):
        while not (ids := [process_id for process_id in pool.process_ids if process_id != known]):  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.02)
    return ids[0]


async def test_what_a_killed_worker_had_not_begun_to_say_is_said_by_the_next(models: Catalog):
    async with EnginePool(models, LONG) as pool:
        await pool.load(STARTER)
        waiting = asyncio.create_task(ask(pool, "one two three " * 300 + "How many words?", SamplingParams(temperature=0, max_tokens=3)))
        await asyncio.sleep(0.3)

        os.kill(pool.process_ids[0], signal.SIGKILL)

        assert (await waiting).finished is not None


@pytest.mark.parametrize(
    ("death", "words"),
    [(signal.SIGKILL, "killed, which the system does when memory runs out"), (signal.SIGABRT, "Aborted"), (signal.SIGSEGV, "Segmentation fault")],
    ids=["killed", "abort in llama.cpp", "crash in llama.cpp"],
)
async def test_a_request_that_kills_its_worker_each_time_fails_and_the_next_is_answered(models: Catalog, death: signal.Signals, words: str):
    async with EnginePool(models, LONG) as pool:
        await pool.load(STARTER)
        waiting = asyncio.create_task(ask(pool, "one two three " * 300, SamplingParams(temperature=0, max_tokens=3)))
        process_id = 0
        for _ in range(2):
            process_id = await another_worker(pool, process_id)
            await asyncio.sleep(0.2)
            os.kill(process_id, death)

        with pytest.raises(EngineError, match=words):
            await waiting
        assert (await ask(pool, "Hello")).finished is not None


async def test_counting_survives_a_killed_worker(models: Catalog):
    async with EnginePool(models, SMALL) as pool:
        counts = await pool.count_tokens(STARTER, ["one two"])
        os.kill(pool.process_ids[0], signal.SIGKILL)

        assert await pool.count_tokens(STARTER, ["one two"]) == counts


async def test_a_worker_without_memory_is_replaced(models: Catalog):
    async with EnginePool(models, SMALL) as pool:
        await ask(pool, "Hello")
        (process_id,) = pool.process_ids
        resource.prlimit(process_id, resource.RLIMIT_DATA, (2**20, 2**20))

        await asyncio.gather(*(ask(pool, f"Tell me of {i}. " * 5) for i in range(2)), return_exceptions=True)

        async with asyncio.timeout(60):
            assert (await ask(pool, "Hello")).finished is not None


@pytest.mark.parametrize("content", [b"", b"Not a model. " * 1000, b"GGUF" + b"\xff" * 5000], ids=["empty", "text", "nonsense"])
async def test_a_foreign_file_is_an_error_in_words_and_others_are_not_concerned(models: Catalog, tmp_path: Path, content: bytes):
    (tmp_path / "foreign.gguf").write_bytes(content)
    async with EnginePool(models, SMALL) as pool:
        with pytest.raises(OfflineAssistantsError, match="foreign"):
            await pool.load("foreign")

        assert (await ask(pool, "Hello")).finished is not None


async def test_a_truncated_model_is_an_error_in_words(models: Catalog, tmp_path: Path):
    whole = starter_file(models).read_bytes()
    (tmp_path / "short.gguf").write_bytes(whole[: len(whole) // 2])
    async with EnginePool(models, SMALL) as pool:
        with pytest.raises(ModelNotLoaded, match="short"):
            await pool.load("short")


async def test_a_template_that_cannot_be_read_is_an_error_with_its_model_and_line(models: Catalog, tmp_path: Path):
    [file] = [file for file in models.list_files() if file.model_id == STARTER]
    template = (file.template or "").encode()
    broken = b"{% for message in messages %}\n{{ message.content( }}".ljust(len(template))
    (tmp_path / "garbled.gguf").write_bytes(file.path.read_bytes().replace(template, broken))
    async with EnginePool(models, SMALL) as pool:
        with pytest.raises(ModelNotLoaded, match=r"chat template of garbled cannot be read \(line 2\): unexpected '}'"):
            await pool.load("garbled")


async def test_a_context_that_no_memory_holds_is_an_error_that_says_what_to_do(models: Catalog):
    async with EnginePool(models, EngineOptions(max_context_tokens=512, max_kv_tokens=4_000_000)) as pool:
        with pytest.raises(ModelNotLoaded, match="--context-tokens"):
            await pool.load(STARTER)


@pytest.mark.parametrize("kind", ["missing", "garbled", "of another width"])
async def test_an_adapter_that_does_not_fit_is_an_error_in_words(models: Catalog, tmp_path: Path, kind: str):
    path = tmp_path / "adapter.lora"
    if kind == "garbled":
        path.write_bytes(b"GGUF but no adapter")
    if kind == "of another width":
        write_adapter(path, width=64)
    async with EnginePool(models, EngineOptions(max_context_tokens=512, lora_adapters=(LoraAdapter(STARTER, path),))) as pool:
        with pytest.raises(ModelNotLoaded, match=r"LoRA adapter .*adapter\.lora"):
            await pool.load(STARTER)
        path.unlink(missing_ok=True)
        write_adapter(path)

        assert (await ask(pool, "Hello")).finished is not None


async def test_an_adapter_changes_what_is_written_as_far_as_its_scale_says(models: Catalog, tmp_path: Path):
    path = write_adapter(tmp_path / "adapter.gguf")

    async def said(*adapters: LoraAdapter) -> str:
        async with EnginePool(models, EngineOptions(max_context_tokens=512, lora_adapters=adapters)) as pool:
            return (await ask(pool, "Count from one to ten.", GREEDY)).text

    plain = await said()

    assert plain
    assert await said(LoraAdapter(STARTER, path, scale=0)) == plain
    assert await said(LoraAdapter(STARTER, path, scale=1)) != plain


async def test_an_adapter_of_another_model_is_none_of_this_one_s_business(models: Catalog, tmp_path: Path):
    options = EngineOptions(max_context_tokens=512, lora_adapters=(LoraAdapter("another", tmp_path / "missing"),))
    async with EnginePool(models, options) as pool:
        await pool.load(STARTER)


def adapter_trained_on(chat_format: str, path: Path) -> Path:
    """An adapter of rank 1 that changes nothing, and says what it was trained on (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""
    width = 576

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    words = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora", "offline_assistants.chat_format": chat_format}
    values = b"".join(text(key) + struct.pack("<I", 8) + text(value) for key, value in words.items())
    values += text("adapter.lora.alpha") + struct.pack("<If", 6, 1.0)
    shapes = {"blk.0.attn_q.weight.lora_a": (width, 1), "blk.0.attn_q.weight.lora_b": (1, width)}
    tensors = b"".join(text(name) + struct.pack("<IQQIQ", 2, *shape, 0, i * width * 4) for i, (name, shape) in enumerate(shapes.items()))
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(shapes), len(words) + 1) + values + tensors
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(2 * width * 4))
    return path


async def test_a_model_is_spoken_to_as_its_adapter_was_trained(models: Catalog, tmp_path: Path):
    tool = ToolSpec("get_weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
    chat = Chat((ChatMessage("user", "Hello"),), (tool,))
    adapter = LoraAdapter(STARTER, adapter_trained_on("compact", tmp_path / "compact.gguf"))

    async with EnginePool(models, SMALL) as plain, EnginePool(models, replace(SMALL, lora_adapters=(adapter,))) as adapted:
        generic, compact = await plain.measure(STARTER, chat), await adapted.measure(STARTER, chat)

    assert compact < generic


async def test_an_adapter_that_was_trained_on_what_is_unknown_is_refused(models: Catalog, tmp_path: Path):
    adapter = LoraAdapter(STARTER, adapter_trained_on("telepathy", tmp_path / "telepathy.gguf"))
    async with EnginePool(models, replace(SMALL, lora_adapters=(adapter,))) as pool:
        with pytest.raises(ModelNotLoaded, match="'telepathy', which this version does not know"):
            await pool.load(STARTER)


@pytest.mark.parametrize(
    "options",
    [
        EngineOptions(max_context_tokens=512, kv_cache_type="q8_0", is_mapped=False),
        EngineOptions(max_context_tokens=512, flash_attention="off", num_gpu_layers=0, max_step_tokens=64),
    ],
    ids=["small cache, read at once", "no flash attention"],
)
async def test_a_model_answers_however_it_is_run(models: Catalog, options: EngineOptions):
    async with EnginePool(models, options) as pool:
        answer = await ask(pool, "Hello, who are you?", GREEDY)

        assert answer.text


def test_an_aborted_batch_leaves_a_slot_that_can_be_used_as_if_nothing_had_been(models: Catalog):
    runner = ModelRunner(starter_file(models), EngineOptions(max_context_tokens=1024, max_step_tokens=1024))
    long, short = (BatchItem(0, tuple(range(100, 1000)), 0, wants_logits=True),), (BatchItem(0, (5, 6, 7), 0, wants_logits=True),)
    expected = runner.decode(short)[0]
    runner.cut(0, 0)

    aborting = threading.Timer(0.3, runner.abort)
    aborting.start()
    with pytest.raises(Aborted):
        runner.decode(long)
    aborting.join()

    assert runner.cut(0, 0)
    assert np.array_equal(runner.decode(short)[0], expected)


async def test_a_prompt_that_nobody_waits_for_any_more_makes_room_at_once(models: Catalog):
    async with EnginePool(models, EngineOptions(max_context_tokens=1024, max_step_tokens=1024)) as pool:
        await pool.load(STARTER)
        long = asyncio.create_task(ask(pool, "one two three " * 300))
        await asyncio.sleep(0.3)

        long.cancel()

        assert (await ask(pool, "Hello", SamplingParams(temperature=0, max_tokens=1))).finished is not None


async def test_what_a_worker_does_and_has_done_can_be_watched(models: Catalog):
    async with EnginePool(models, SMALL) as pool:
        await pool.load(STARTER)
        [new] = await pool.list_loaded()
        answer = await ask(pool, "Hello", SamplingParams(temperature=0, max_tokens=5))
        [used] = await pool.list_loaded()

    assert new.batch is not None
    assert used.batch is not None
    assert (new.batch.num_steps, sum(slot.num_tokens for slot in new.batch.slots)) == (0, 0)
    assert answer.finished is not None
    assert (used.batch.num_sampled_tokens, used.batch.num_prompt_tokens) == (5, answer.finished.num_prompt_tokens)
    assert used.batch.compute_s > 0
    assert not any(slot.is_busy for slot in used.batch.slots)


async def test_beyond_those_who_may_wait_everybody_is_refused_at_once(models: Catalog):
    async with EnginePool(models, EngineOptions(max_context_tokens=512, max_running=1, max_waiting=1)) as pool:
        stories = [user(f"Tell a story of {i}.") for i in range(4)]
        results = await asyncio.gather(*(ask(pool, story, GREEDY) for story in stories), return_exceptions=True)

        assert [isinstance(result, EngineBusy) for result in results] == [False, False, True, True]
