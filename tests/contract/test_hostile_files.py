"""Files that are broken, or made to do harm, against the real parser child: each fails with a code and a sentence, and the next file is read."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import zipfile
from pathlib import Path

import pytest

from offline_assistants.documents.parser_process import ParserProcess
from offline_assistants.errors import InvalidFile, SearchError
from tests.contract.test_parsers import FILES, lease_docx, with_part

MEMORY_BYTES = 256 << 20

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def parser() -> ParserProcess:
    return ParserProcess(memory_bytes=MEMORY_BYTES, timeout_s=20, max_text_chars=1_000_000, max_processes=1)


async def refused(parser: ParserProcess, filename: str, content: bytes) -> str:
    """The sentence that the file fails with, after which the parser reads another."""
    with pytest.raises(InvalidFile) as failure:
        await parser.parse(filename, content)
    assert (await parser.parse("next.txt", b"Fine.")).text == "Fine."
    assert failure.value.code == "invalid_file"
    return failure.value.message


def archive(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as target:
        for name, member in members.items():
            target.writestr(name, member)
    return content.getvalue()


def office(part: str, main: bytes, **members: bytes) -> bytes:
    """An Office document with the main part `part`."""
    relations = f'<Relationships><Relationship Id="r1" Type="x/officeDocument" Target="{part}"/></Relationships>'
    return archive(**{"_rels/.rels": relations.encode(), part: main, **members})


# ── Archives and XML ─────────────────────────────────────────────────────────────────────────────────────────────────

PARTS = {"docx": "word/document.xml", "pptx": "ppt/presentation.xml", "xlsx": "xl/workbook.xml"}


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Three hundred kilobytes that unpack to 300 MB, whichever kind of document they are taken for."""
    container = b'<container><rootfile full-path="bomb.xml"/></container>'
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("META-INF/container.xml", container)
        target.writestr("_rels/.rels", '<Relationships><Relationship Id="r1" Type="x/officeDocument" Target="bomb.xml"/></Relationships>')
        for name in ("bomb.xml", "content.xml"):
            target.writestr(name, b" " * (300 << 20), compresslevel=1)
    return content.getvalue()


@pytest.mark.parametrize("kind", [*PARTS, "odt", "epub"])
async def test_a_zip_bomb_is_not_unpacked(parser: ParserProcess, bomb: bytes, kind: str):
    assert len(bomb) < 4 << 20
    assert "unpacks to more than 256 MB" in await refused(parser, f"bomb.{kind}", bomb)


async def test_a_bomb_of_mark_up_ends_at_the_limit_of_memory(parser: ParserProcess):
    content = office("word/document.xml", b"<w><body>" + b"<p/>" * 6_000_000 + b"</body></w>")

    assert "more memory than a parser may have" in await refused(parser, "bomb.docx", content)


async def test_a_bomb_in_a_bomb_stays_packed(parser: ParserProcess):
    inner = archive(**{f"{number}.bin": b"\0" * (1 << 20) for number in range(5)})
    content = with_part(lease_docx(), "docProps/app.xml", (b"<Properties", inner + b"<Properties"))

    assert (await parser.parse("nested.docx", content)).text.startswith("Lease")


async def test_an_archive_that_lies_about_its_sizes_is_damaged(parser: ParserProcess):
    content = lease_docx()
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        size = source.getinfo("word/document.xml").file_size
    lying = content.replace(size.to_bytes(4, "little"), (10).to_bytes(4, "little"))

    assert "is damaged" in await refused(parser, "lying.docx", lying)


LAUGHS = b'<!DOCTYPE a [<!ENTITY a "ha">' + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)) + b"]><a>&j;</a>"
OUTSIDE = b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><a>&a;</a>'


@pytest.mark.parametrize("kind", [*PARTS, "odt", "epub"])
@pytest.mark.parametrize("xml", [LAUGHS, OUTSIDE, OUTSIDE.decode().encode("utf-16")], ids=["laughs", "outside", "utf-16"])
async def test_entities_are_refused(parser: ParserProcess, kind: str, xml: bytes):
    names = {"odt": "content.xml", "epub": "META-INF/container.xml"}
    content = office(PARTS[kind], xml) if kind in PARTS else archive(**{names[kind]: xml})

    assert "declares XML entities" in await refused(parser, f"entities.{kind}", content)


async def test_elements_inside_elements_without_end_are_refused(parser: ParserProcess):
    depth = 100_000
    runs = b"<ins>" * depth + b"</ins>" * depth

    message = await refused(parser, "deep.docx", office("word/document.xml", b"<d><body><p>" + runs + b"</p></body></d>"))

    assert "deeper than any program" in message or "crash" in message


async def test_a_cell_in_the_last_corner_costs_what_one_cell_costs(parser: ParserProcess):
    import openpyxl

    book = openpyxl.Workbook()
    book.active["XFD1048576"] = "corner"
    content = io.BytesIO()
    book.save(content)

    parsed = await parser.parse("corner.xlsx", content.getvalue())

    assert parsed.text.endswith("corner")


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx", "odt", "epub", "doc"])
@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04" + b"\0" * 200, lease_docx()[:20_000]], ids=["text", "zeros", "cut"])
async def test_what_is_no_archive_is_damaged(parser: ParserProcess, kind: str, content: bytes):
    assert "is damaged" in await refused(parser, f"a.{kind}", content)


@pytest.mark.parametrize("name", ["lease.doc", "lease.odt", "lease.rtf", "lease_libreoffice.pdf"])
async def test_a_file_with_damaged_bytes_is_read_or_invalid(parser: ParserProcess, name: str):
    whole = (FILES / name).read_bytes()
    for number in range(8):
        broken = bytearray(whole)
        for at in range(number * 37, len(broken), 911):
            broken[at] ^= 0xFF
        try:
            await parser.parse(name, bytes(broken))
        except InvalidFile as error:
            assert error.message.endswith((".", "!"))


async def test_a_protected_office_document_says_so(parser: ParserProcess):
    content = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le")

    assert "protected by a password" in await refused(parser, "secret.docx", content)


# ── Web pages and text ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tag", ["div", "table><tr><td", "svg", "pre", "h1", "ul><li"])
async def test_tags_inside_tags_without_end_cost_their_number_only(parser: ParserProcess, tag: str):
    parsed = await parser.parse("deep.html", b"<p>Found.</p>" + f"<{tag}>".encode() * 100_000 + b"<p>Deep.</p>")

    assert parsed.text.startswith("Found.")


async def test_a_text_of_many_headings_is_read(parser: ParserProcess):
    parsed = await parser.parse("a.md", b"# a\n" * 200_000)

    assert len(parsed.sections) <= 100_001
    assert len(parsed.text) == 800_000


async def test_headings_without_end_are_refused_elsewhere(parser: ParserProcess):
    assert "more than 100,000 pages and headings" in await refused(parser, "a.html", b"<h1>a" * 200_000)


async def test_a_text_far_beyond_the_limit_is_refused_before_a_process_is_started(parser: ParserProcess):
    content = bytes(512 << 20)  # pages of zeros that the system does not have to find

    assert "more than 1,000,000 characters" in await refused(parser, "huge.txt", content)


@pytest.mark.parametrize("name", ["two\nlines.txt", "a\0b.md", "../../etc/passwd.txt", "\ud800.txt", "x" * 5000 + ".txt", "‮fdp.txt"])
async def test_any_name_is_only_a_name(parser: ParserProcess, name: str):
    assert (await parser.parse(name, b"Fine.")).text == "Fine."


# ── PDF ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pdf_of(*objects: bytes) -> bytes:
    body, offsets = b"%PDF-1.4\n", list[int]()
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(body))
    return body + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer


LOOPS = {
    "pages that are their own parents": (b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2>>"),
    "two billion pages": (b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 2147483647>>"),
    "arrays inside arrays": (b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids " + b"[" * 200_000 + b"]" * 200_000 + b"/Count 1>>"),
    "no pages": (b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"),
}


@pytest.mark.parametrize("objects", LOOPS.values(), ids=LOOPS.keys())
async def test_a_pdf_that_leads_nowhere_is_invalid(parser: ParserProcess, objects: tuple[bytes, ...]):
    assert await refused(parser, "loop.pdf", pdf_of(*objects))


async def test_a_pdf_that_ends_in_the_middle_is_read_or_damaged(parser: ParserProcess):
    whole = (FILES / "lease_libreoffice.pdf").read_bytes()

    for share in (0.1, 0.5, 0.9):
        assert "damaged" in await refused(parser, "cut.pdf", whole[: int(len(whole) * share)])


# ── The process ──────────────────────────────────────────────────────────────────────────────────────────────────────


def parsers_of(pid: int) -> list[int]:
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [child for child in children if b"parser_child" in Path(f"/proc/{child}/cmdline").read_bytes()]


async def parser_of(pid: int) -> int:
    while not (found := parsers_of(pid)):  # noqa: ASYNC110  /proc announces nothing
        await asyncio.sleep(0.005)
    return found[0]


@pytest.mark.parametrize(("number", "error"), [(signal.SIGKILL, SearchError), (signal.SIGSEGV, InvalidFile), (signal.SIGXCPU, InvalidFile)])
async def test_a_parser_that_dies_fails_its_file_only(parser: ParserProcess, number: signal.Signals, error: type[Exception]):
    parsing = asyncio.create_task(parser.parse("a.html", b"<p>x" * 900_000))
    os.kill(await parser_of(os.getpid()), number)

    with pytest.raises(error):
        await parsing

    assert (await parser.parse("next.txt", b"Fine.")).text == "Fine."


SERVER = """
import asyncio
from offline_assistants.documents.parser_process import ParserProcess

parser = ParserProcess(memory_bytes=1 << 30, timeout_s=60, max_text_chars=10**8, max_processes=1)
asyncio.run(parser.parse("a.html", b"<p>x" * 20_000_000))
"""


def is_running(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


async def test_the_parser_dies_with_the_server():
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER)
    parser = await parser_of(server.pid)

    server.kill()
    await server.wait()
    async with asyncio.timeout(5):
        while is_running(parser):  # noqa: ASYNC110  /proc announces nothing
            await asyncio.sleep(0.05)


CONFINED = """
import os, socket, sys
from offline_assistants.documents.confinement import confine
how = confine(memory_bytes=512 << 20, cpu_s=10)
attempts = {
    "connects": lambda: socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=3),
    "writes": lambda: os.write(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY), b"x"),
    "takes": lambda: bytearray(1 << 30),
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(name)
    except (OSError, MemoryError):
        pass
print(how)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces and filters are Linux's")
async def test_a_parser_reaches_no_network_writes_nothing_and_takes_no_more_memory(tmp_path: Path):
    listener = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = str(listener.sockets[0].getsockname()[1])
    confined = await asyncio.create_subprocess_exec(sys.executable, "-c", CONFINED, str(tmp_path / "file"), port, stdout=asyncio.subprocess.PIPE)
    output, _ = await confined.communicate()
    listener.close()

    assert output.decode().split() in (["namespace"], ["filter"])


FILTERED = """
import ctypes, socket
from offline_assistants.documents.confinement import refuse_sockets
print(refuse_sockets(ctypes.CDLL(None)))
try:
    socket.socket()
except PermissionError:
    print("refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces and filters are Linux's")
async def test_where_no_namespace_is_to_be_had_the_kernel_refuses_sockets():
    filtered = await asyncio.create_subprocess_exec(sys.executable, "-c", FILTERED, stdout=asyncio.subprocess.PIPE)
    output, _ = await filtered.communicate()

    assert output.split() == [b"True", b"refused"]
