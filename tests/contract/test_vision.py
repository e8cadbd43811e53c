"""Pictures through a real model and mtmd. The projector has random weights: nothing here says that a model sees well, only that pictures go the whole way."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from offline_assistants.catalog import Catalog
from offline_assistants.domain.pictures import UnreadablePicture
from offline_assistants.engine.options import EngineOptions
from offline_assistants.engine.pool import EnginePool
from offline_assistants.errors import RequestError
from offline_assistants.ports import Chat, ChatMessage, Finished, Picture, SamplingParams, TextDelta
from tests.tiny_projector import PICTURE_TOKENS, write_projector

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.model, pytest.mark.timeout(120)]
OPTIONS = EngineOptions(max_context_tokens=1024)
GREEDY = SamplingParams(temperature=0, max_tokens=8)


def picture(colour: str, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (80, 60), colour).save(file, kind)
    return file.getvalue()


def say(text: str, *pictures: bytes) -> ChatMessage:
    """A message of the user; each "@" in the text is where the next picture stands."""
    parts = text.split("@")
    offsets = [len("".join(parts[: i + 1])) for i in range(len(pictures))]
    return ChatMessage("user", "".join(parts), pictures=tuple(Picture(offset, content=content) for offset, content in zip(offsets, pictures, strict=True)))


def folder_with(folder: Path, *names: str) -> Path:
    """A models folder with the starter model under other names."""
    for name in names:
        (folder / f"{name}.gguf").symlink_to(Catalog(folder / "none").list_files()[0].path)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seeing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EnginePool]:
    folder = folder_with(tmp_path_factory.mktemp("seeing"), "seer")
    write_projector(folder / "mmproj-seer-F32.gguf")
    async with EnginePool(Catalog(folder), OPTIONS) as pool:
        yield pool


async def ask(pool: EnginePool, *messages: ChatMessage, model: str = "seer", sampling: SamplingParams = GREEDY) -> tuple[str, Finished]:
    deltas = [delta async for delta in pool.generate(model, Chat(messages), sampling)]
    assert isinstance(deltas[-1], Finished)
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)), deltas[-1]


# ── Seen ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_picture_goes_in_is_counted_and_text_comes_out(seeing: EnginePool) -> None:
    model = await seeing.load("seer")
    chat = say("Look: @ What is it?", picture("red"))

    text, finished = await ask(seeing, chat)

    assert text
    assert (model.picture_tokens, model.picture_problem) == (PICTURE_TOKENS, None)
    assert finished.num_prompt_tokens == await seeing.measure("seer", Chat((chat,)))
    apart = await seeing.measure("seer", Chat((say("Look:  What is it?"),)))
    assert 0 <= finished.num_prompt_tokens - apart - PICTURE_TOKENS <= 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
async def test_every_kind_of_picture_is_read(seeing: EnginePool, kind: str) -> None:
    _, finished = await ask(seeing, say("@ What is it?", picture("green", kind)))

    assert finished.num_prompt_tokens > PICTURE_TOKENS


async def test_the_same_picture_is_not_computed_again_and_another_one_is(seeing: EnginePool) -> None:
    before = "You are shown a picture of the sea at night. "
    first, cold = await ask(seeing, say(before + "@ What is it?", picture("navy")))

    again, warm = await ask(seeing, say(before + "@ What is it?", picture("navy")))
    _, other = await ask(seeing, say(before + "@ What is it?", picture("white")))

    assert warm.num_cached_tokens == warm.num_prompt_tokens - 1
    assert again == first
    assert warm.num_cached_tokens - other.num_cached_tokens > PICTURE_TOKENS
    assert cold.num_prompt_tokens == other.num_prompt_tokens


async def test_what_is_seen_changes_what_is_likely(seeing: EnginePool) -> None:
    async def logprob(content: bytes) -> float:
        sampling = SamplingParams(temperature=0, max_tokens=1, top_logprobs=1)
        deltas = [delta async for delta in seeing.generate("seer", Chat((say("@", content),)), sampling)]
        return next(delta.logprobs[0].logprob for delta in deltas if isinstance(delta, TextDelta) and delta.logprobs)

    black, white, black_again = [await logprob(picture(colour)) for colour in ("black", "white", "black")]

    assert black != white
    assert black == pytest.approx(black_again, abs=0.05)


async def test_pictures_between_words_keep_their_order(seeing: EnginePool) -> None:
    red, blue = picture("red"), picture("blue")
    one_way = [say("First: @ Second: @ Which is red?", red, blue), ChatMessage("assistant", "The first."), say("And @ now?", red)]
    other_way = [say("First: @ Second: @ Which is red?", blue, red), ChatMessage("assistant", "The first."), say("And @ now?", red)]

    _, cold = await ask(seeing, *one_way)
    _, warm = await ask(seeing, *one_way)
    _, turned = await ask(seeing, *other_way)

    assert cold.num_prompt_tokens == turned.num_prompt_tokens > 3 * PICTURE_TOKENS
    assert warm.num_cached_tokens == warm.num_prompt_tokens - 1
    assert turned.num_cached_tokens < warm.num_cached_tokens - 2 * PICTURE_TOKENS


async def test_answers_side_by_side_are_those_of_each_alone(seeing: EnginePool) -> None:
    chats = [say("Look @ What is it?", picture("red")), say("Tell me of the sea."), say("@@ Compare.", picture("lime"), picture("pink"))]
    alone = [(await ask(seeing, chat))[0] for chat in chats]

    together = await asyncio.gather(*(ask(seeing, chat) for chat in chats))

    assert [text for text, _ in together] == alone


async def test_one_who_leaves_between_pictures_leaves_the_others_in_peace(seeing: EnginePool) -> None:
    many = say("@" * 8 + " Compare.", *(picture(f"#{number:02x}8040") for number in range(8)))
    async with aclosing(seeing.generate("seer", Chat((many,)), GREEDY)) as deltas:
        waiting = asyncio.ensure_future(anext(deltas))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait([waiting])

    text, finished = await ask(seeing, many)

    assert text
    assert finished.num_prompt_tokens > 8 * PICTURE_TOKENS


async def test_words_that_look_like_our_marks_stay_words(seeing: EnginePool) -> None:
    _, finished = await ask(seeing, say("\ufdd20\ufdd3@\ufdd21\ufdd3 \ufdd0hello\ufdd1", picture("red")))

    assert PICTURE_TOKENS < finished.num_prompt_tokens < 3 * PICTURE_TOKENS + 40


# ── Not seen ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n a picture", picture("red")[:60], b"GIF89a", b"RIFF\x00\x00\x00\x00WEBP"])
async def test_a_broken_picture_fails_alone_and_says_so(seeing: EnginePool, content: bytes) -> None:
    answer = asyncio.ensure_future(ask(seeing, say("Tell me of the sea.")))

    with pytest.raises(UnreadablePicture, match="cannot be read; the file is damaged"):
        await ask(seeing, say("@ What is it?", content))

    assert (await answer)[0]


async def test_a_model_without_a_projector_refuses(tmp_path: Path) -> None:
    async with EnginePool(Catalog(folder_with(tmp_path, "blind")), OPTIONS) as pool:
        with pytest.raises(RequestError, match="cannot see pictures"):
            await ask(pool, say("@ What is it?", picture("red")), model="blind")

        assert (await pool.load("blind")).picture_tokens is None


async def test_a_projector_that_does_not_work_leaves_a_model_that_answers(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "cut", "wide")
    write_projector(folder / "mmproj-wide.gguf", width=640)
    whole = write_projector(folder / "cut-mmproj.gguf")
    whole.write_bytes(whole.read_bytes()[:-100])

    async with EnginePool(Catalog(folder), OPTIONS, max_loaded=2) as pool:
        cut, wide = await pool.load("cut"), await pool.load("wide")
        with pytest.raises(RequestError, match=r"cut-mmproj\.gguf is damaged: it ends in the middle of its weights"):
            await ask(pool, say("@", picture("red")), model="cut")

        assert cut.picture_tokens is wide.picture_tokens is None
        assert "mmproj-wide.gguf does not work with this model: " in (wide.picture_problem or "")
        assert "mismatch" in (wide.picture_problem or "")
        assert (await ask(pool, say("Hello"), model="wide"))[0]
