"""Every kind of file that can be searched, as real programs write it, through the real parser child: text, headings, tables and page numbers come out."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest

from offline_assistants.documents.parser_process import ParserProcess
from offline_assistants.domain.file_types import SEARCHABLE
from offline_assistants.errors import InvalidFile
from offline_assistants.ports import ParsedDocument

FILES = Path(__file__).parent / "files"
TITLE = "Lease of the Harbour Mill"
TABLE = "Year | Rent | Deposit\n2026 | 1,450 | 4,350\n2027 |  | 4,500"
LAST = "Two cats may be kept — größere Tiere nicht."
PATHS = [TITLE, f"{TITLE} > Rent", f"{TITLE} > Rent > Payment", f"{TITLE} > Keeping animals"]

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def parser() -> ParserProcess:
    return ParserProcess(memory_bytes=1 << 30, timeout_s=50, max_text_chars=1_000_000, max_processes=2)


def headings(document: ParsedDocument) -> list[str | None]:
    return list(dict.fromkeys(section.heading for section in document.sections))


def page_of(document: ParsedDocument, words: str) -> int | None:
    at = document.text.index(words)
    return next(section.page for section in document.sections if section.start <= at < section.end)


def heading_of(document: ParsedDocument, words: str) -> str | None:
    at = document.text.index(words)
    return next(section.heading for section in document.sections if section.start <= at < section.end)


# ── Word, OpenDocument, rich text ────────────────────────────────────────────────────────────────────────────────────


def lease_docx() -> bytes:
    import docx

    document = docx.Document()
    document.add_heading(TITLE, 0)
    document.add_paragraph("This lease is made between Ada Okafor and the Harbour Trust.")
    document.add_heading("Rent", 1)
    document.add_paragraph("The rent is 1,450 crowns a month.")
    document.add_heading("Payment", 2)
    document.add_paragraph("It is paid on the third day of the month.")
    table = document.add_table(rows=3, cols=3)
    for row, line in zip(table.rows, TABLE.split("\n"), strict=True):
        for cell, text in zip(row.cells, line.split(" | "), strict=True):
            cell.text = text.strip()
    document.add_page_break()
    document.add_heading("Keeping animals", 1)
    document.add_paragraph(LAST)
    for animal in ("cats", "canaries"):
        document.add_paragraph(animal, style="List Bullet")
    content = io.BytesIO()
    document.save(content)
    return content.getvalue()


async def test_a_word_document_keeps_headings_tables_and_lists(parser: ParserProcess):
    parsed = await parser.parse("lease.docx", lease_docx())

    assert headings(parsed) == PATHS
    assert f"\n\n{TABLE}\n\n" in parsed.text
    assert parsed.text.endswith(f"{LAST}\n\n- cats\n- canaries")
    assert heading_of(parsed, "third day") == PATHS[2]


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("lease.odt", PATHS),
        ("lease_libreoffice.docx", PATHS),
        ("lease.doc", ["Rent", "Rent > Payment", "Keeping animals"]),
        ("lease.html", ["Rent", "Rent > Payment", "Keeping animals"]),
        (
            "lease.epub",
            ["Unknown Title", "Unknown Title > Section 1", "Unknown Title > Rent", "Unknown Title > Keeping animals"],
        ),  # it has only the chapters' titles
    ],
)
async def test_what_libreoffice_saves_keeps_headings_and_tables(parser: ParserProcess, name: str, paths: list[str | None]):
    parsed = await parser.parse(name, (FILES / name).read_bytes())

    assert headings(parsed) == paths
    assert f"\n\n{TABLE}\n\n" in parsed.text
    assert f"\n\n{LAST}\n\n" in parsed.text


async def test_rich_text_keeps_headings_and_tables(parser: ParserProcess):
    parsed = await parser.parse("lease.rtf", (FILES / "lease.rtf").read_bytes())

    assert headings(parsed) == PATHS
    assert f"\n\n{TABLE}\n\n" in parsed.text
    assert LAST in parsed.text


@pytest.mark.parametrize("name", ["notes.docx", "notes.odt"])
async def test_footnotes_stand_at_the_end_under_their_numbers_and_boxes_after_their_paragraph(parser: ParserProcess, name: str):
    parsed = await parser.parse(name, (FILES / name).read_bytes())

    assert parsed.text == ("Sources\n\nThe wheel has twelve blades[1] and a shaft.\n\nAnchor.\n\nIn a box.\n\n- one\n- two\n- two a\n\n[1] Survey of 1911.")


async def test_the_numbers_that_word_shows_before_clauses_are_text(parser: ParserProcess):
    import docx

    document = docx.Document()
    for text, style in (("Parties", "List Number"), ("Rent", "List Number"), ("Term", "List Number")):
        document.add_paragraph(text, style=style)
    content = io.BytesIO()
    document.save(content)

    parsed = await parser.parse("clauses.docx", content.getvalue())

    assert parsed.text == "1. Parties\n2. Rent\n3. Term"


def with_part(docx: bytes, name: str, change: tuple[bytes, bytes]) -> bytes:
    """The archive with something replaced in one of its members."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx)) as source, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            content = source.read(info)
            target.writestr(info, content.replace(*change) if info.filename == name else content)
    return changed.getvalue()


async def test_word_s_own_page_breaks_number_the_pages(parser: ParserProcess):
    words = b"<w:t>It is paid on"
    content = with_part(lease_docx(), "word/document.xml", (words, b"<w:lastRenderedPageBreak/>" + words))

    parsed = await parser.parse("lease.docx", content)

    assert [page_of(parsed, "This lease"), page_of(parsed, "It is paid"), page_of(parsed, LAST)] == [1, 2, 2]


async def test_deleted_text_is_left_out_and_inserted_text_is_there(parser: ParserProcess):
    before = b"<w:t>The rent is 1,450 crowns a month.</w:t></w:r>"
    after = b"<w:t>Rent: </w:t></w:r><w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del>"

    parsed = await parser.parse("lease.docx", with_part(lease_docx(), "word/document.xml", (before, after)))

    assert "\n\nRent: new\n\n" in parsed.text


# ── Slides and sheets ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_presentation_has_a_section_for_each_slide(parser: ParserProcess):
    import pptx
    from pptx.util import Inches

    show = pptx.Presentation()
    first, second = (show.slides.add_slide(show.slide_layouts[1]) for _ in range(2))
    first.shapes.title.text, first.placeholders[1].text = "Harvest", "Apples first\nPears later"
    second.shapes.title.text = "Prices"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for number, text in enumerate(("Fruit", "Price", "Apple", "4.50")):
        table.cell(number // 2, number % 2).text = text
    second.notes_slide.notes_text_frame.text = "Mention the frost."
    content = io.BytesIO()
    show.save(content)

    parsed = await parser.parse("harvest.pptx", content.getvalue())

    assert parsed.text == "Harvest\n\nApples first\nPears later\n\nPrices\n\nFruit | Price\nApple | 4.50\n\nNotes: Mention the frost."
    assert [(section.page, section.heading) for section in parsed.sections] == [(1, "Harvest"), (2, "Prices")]


async def test_slides_that_libreoffice_saved_keep_their_titles_tables_and_notes(parser: ParserProcess):
    parsed = await parser.parse("harvest.pptx", (FILES / "harvest.pptx").read_bytes())

    assert parsed.text == "Harvest\n\nApples first\nPears later\n\nPrices\n\nFruit | Price\nApple | 4.50\n\nNotes: Mention the frost."
    assert [(section.page, section.heading) for section in parsed.sections] == [(1, "Harvest"), (2, "Prices")]


async def test_a_workbook_that_libreoffice_saved_keeps_its_headers(parser: ParserProcess):
    parsed = await parser.parse("trees.xlsx", (FILES / "trees.xlsx").read_bytes())

    assert parsed.text == "trees\n\nKind: Oak | Planted: 2024-03-09 | Height: 2.5\nKind: Birch | Height: 16"
    assert [(section.page, section.heading) for section in parsed.sections] == [(1, "trees")]


async def test_every_row_of_a_workbook_has_its_headers(parser: ParserProcess):
    from datetime import date

    import openpyxl

    book = openpyxl.Workbook()
    trees = book.active
    trees.title = "Trees"
    for row in (["Kind", "Planted", "Height", "Share", "Alive"], ["Oak", date(2024, 3, 9), 2.5, 0.125, True], ["Birch", None, 16, 1, False]):
        trees.append(row)
    trees["D2"].number_format = "0.0%"
    book.create_sheet("Notes")["C7"] = "Water them."
    content = io.BytesIO()
    book.save(content)

    parsed = await parser.parse("trees.xlsx", content.getvalue())

    assert parsed.text == (
        "Trees\n\nKind: Oak | Planted: 2024-03-09 | Height: 2.5 | Share: 12.5% | Alive: TRUE\n"
        "Kind: Birch | Height: 16 | Share: 1 | Alive: FALSE\n\nNotes\n\n |  | Water them."
    )
    assert [(section.page, section.heading) for section in parsed.sections] == [(1, "Trees"), (2, "Notes")]


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.csv", ";"), ("a.tsv", "\t")])
async def test_a_table_of_text_is_read_whatever_separates_its_cells(parser: ParserProcess, name: str, separator: str):
    rows = [["City", "Founded"], ["Zürich", "15 BC"], ["Łódź", "1332"]]

    parsed = await parser.parse(name, "\r\n".join(separator.join(row) for row in rows).encode())

    assert parsed.text == "City: Zürich | Founded: 15 BC\nCity: Łódź | Founded: 1332"


async def test_a_table_without_a_header_is_read_as_it_stands(parser: ParserProcess):
    parsed = await parser.parse("a.csv", b'1,2,"three, or 3"\n4,5,6\n')

    assert parsed.text == "1 | 2 | three, or 3\n4 | 5 | 6"


# ── PDF ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["lease_libreoffice.pdf", "lease_browser.pdf"])
async def test_a_pdf_keeps_pages_and_the_rows_of_tables(parser: ParserProcess, name: str):
    parsed = await parser.parse(name, (FILES / name).read_bytes())

    assert [page_of(parsed, "1,450 crowns"), page_of(parsed, LAST)] == [1, 2]
    assert "2026 1,450 4,350\n" in parsed.text
    assert {"Rent", "Rent > Payment"} <= {str(heading) for heading in headings(parsed)} or name == "lease_browser.pdf"


async def test_bookmarks_are_the_headings_of_a_pdf(parser: ParserProcess):
    from reportlab.pdfgen.canvas import Canvas

    content = io.BytesIO()
    canvas = Canvas(content)
    for level, title, text in ((0, "Beginnings", "The mill was built."), (1, "The wheel", "It has twelve blades."), (0, "Ends", "It burnt down.")):
        canvas.bookmarkPage(title)
        canvas.addOutlineEntry(title, title, level=level)
        canvas.drawString(72, 750, title)
        canvas.drawString(72, 700, text)
        canvas.showPage()
    canvas.save()

    parsed = await parser.parse("mill.pdf", content.getvalue())

    assert [(section.page, section.heading) for section in parsed.sections] == [(1, "Beginnings"), (2, "Beginnings > The wheel"), (3, "Ends")]


async def test_a_report_by_reportlab_keeps_headings_table_and_pages(parser: ParserProcess):
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Table

    class Report(SimpleDocTemplate):
        def afterFlowable(self, flowable: object) -> None:  # noqa: N802 reportlab's name
            if isinstance(flowable, Paragraph) and flowable.style.name == "Heading1":
                self.canv.bookmarkPage(flowable.text)
                self.canv.addOutlineEntry(flowable.text, flowable.text)

    content, styles = io.BytesIO(), getSampleStyleSheet()
    rows = [["Year", "Rent"], ["2026", "1,450"]]
    first = [Paragraph("Rent", styles["Heading1"]), Table(rows), PageBreak()]
    Report(content).build([*first, Paragraph("Animals", styles["Heading1"]), Paragraph("Two cats may be kept.", styles["Normal"])])

    parsed = await parser.parse("report.pdf", content.getvalue())

    assert "Year Rent\n2026 1,450" in parsed.text
    assert [(section.page, section.heading) for section in parsed.sections] == [(1, "Rent"), (2, "Animals")]
    assert page_of(parsed, "Two cats") == 2


def scan(*pages: str) -> bytes:
    """Pages that are pictures of text; an empty one is a page of real text."""
    from PIL import Image, ImageDraw, ImageFont
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    content = io.BytesIO()
    canvas = Canvas(content)
    for text in pages:
        if text:
            picture = Image.new("L", (1240, 400), 255)
            ImageDraw.Draw(picture).text((60, 150), text, fill=0, font=ImageFont.load_default(48))
            canvas.drawImage(ImageReader(picture), 50, 500, 500, 160)
        else:
            canvas.drawString(72, 700, "This page is text.")
        canvas.showPage()
    canvas.save()
    return content.getvalue()


async def test_a_scan_is_recognised_where_tesseract_is(parser: ParserProcess):
    if shutil.which("tesseract") is None:
        pytest.skip("needs the program tesseract")

    parsed = await parser.parse("scan.pdf", scan("The harbour is deep", "", "Twelve boats are moored"))

    assert parsed.text == "The harbour is deep\n\nThis page is text.\n\nTwelve boats are moored"
    assert [section.page for section in parsed.sections] == [1, 2, 3]


@pytest.fixture
def no_tesseract(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that has no such program: the parser child looks where PATH says."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("no_tesseract")
async def test_a_scan_is_invalid_where_no_tesseract_is(parser: ParserProcess):
    with pytest.raises(InvalidFile, match="Pages 1 to 2, all it has, hold no text"):
        await parser.parse("scan.pdf", scan("One", "Two"))


@pytest.mark.usefixtures("no_tesseract")
async def test_a_page_that_could_not_be_read_is_named_in_the_text(parser: ParserProcess):
    parsed = await parser.parse("scan.pdf", scan("", "Two", ""))

    assert parsed.text == "This page is text.\n\n[Page 2 holds no text, only a picture.]\n\nThis page is text."


# ── Books, mail, web pages, data ─────────────────────────────────────────────────────────────────────────────────────

CONTAINER = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Mill</dc:title></metadata>
<manifest><item id="b" href="two%20b.xhtml"/><item id="a" href="one.xhtml"/></manifest><spine><itemref idref="a"/><itemref idref="b"/></spine></package>"""


async def test_a_book_is_read_in_the_order_of_its_spine(parser: ParserProcess):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as book:
        book.writestr("META-INF/container.xml", CONTAINER)
        book.writestr("OEBPS/book.opf", PACKAGE)
        book.writestr("OEBPS/two b.xhtml", "<html><head><title/></head><body><h1>Two</h1><p>It burnt.</p></body></html>")
        book.writestr("OEBPS/one.xhtml", "<!DOCTYPE html><html><body><h1>One</h1><p>It was built.</p></body></html>")

    parsed = await parser.parse("mill.epub", content.getvalue())

    assert parsed.text == "The Mill\n\nOne\n\nIt was built.\n\nTwo\n\nIt burnt."
    assert headings(parsed) == ["The Mill", "The Mill > One", "The Mill > Two"]


async def test_a_mail_has_its_headers_body_and_the_names_of_its_attachments(parser: ParserProcess):
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Ada <ada@example.org>", "bo@example.org", "Wasser für die Mühle"
    mail.set_content("Dear Bo,\n\nthe wheel turns.\n", charset="iso-8859-1")
    mail.add_alternative("<p>Dear Bo</p>", subtype="html")
    mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="Räder.pdf")

    parsed = await parser.parse("mail.eml", mail.as_bytes())

    assert parsed.text == (
        "From: Ada <ada@example.org>\nTo: bo@example.org\nSubject: Wasser für die Mühle\n\nDear Bo,\n\nthe wheel turns.\n\nAttachment: Räder.pdf"
    )
    assert headings(parsed) == ["Wasser für die Mühle"]


async def test_a_web_page_keeps_headings_and_tables(parser: ParserProcess):
    page = "<title>Mill</title><h1>Rent</h1><table><tr><th>Year<th>Rent<tr><td>2026<td>1,450</table><h2>Pets</h2><ul><li>cats<li>dogs</ul>"

    parsed = await parser.parse("mill.html", page.encode())

    assert parsed.text == "Mill\n\nRent\n\nYear | Rent\n2026 | 1,450\n\nPets\ncats\ndogs"
    assert headings(parsed) == ["Mill", "Mill > Rent", "Mill > Rent > Pets"]


async def test_a_web_page_is_read_in_the_encoding_that_it_names(parser: ParserProcess):
    parsed = await parser.parse("a.htm", '<meta charset="shift_jis"><p>日本語の文章</p>'.encode("shift_jis"))

    assert parsed.text == "日本語の文章"


@pytest.mark.parametrize("name", ["data.json", "data.jsonl", "main.go", "notes.log", "compose.yaml"])
async def test_data_and_code_are_read_as_they_stand(parser: ParserProcess, name: str):
    text = json.dumps({"greeting": "Grüße"}, ensure_ascii=False) + "\n"

    parsed = await parser.parse(name, text.encode("utf-16"))

    assert parsed.text == text


def test_the_hosted_api_s_types_can_all_be_searched():
    hosted = ["c", "cpp", "cs", "css", "doc", "docx", "html", "java", "js", "json", "md", "pdf", "php", "pptx", "py", "rb", "sh", "tex", "ts", "txt"]

    assert set(hosted) <= SEARCHABLE
