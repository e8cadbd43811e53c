"""A conversation as people have it with a notebook: twenty calls of one thread, whose files an office suite opens."""

from __future__ import annotations

import asyncio
import io
import shutil
import uuid
import zipfile
from pathlib import Path

import pytest

from offline_assistants.code_interpreter.bubblewrap_sandbox import BubblewrapSandbox
from offline_assistants.code_interpreter.docker_sandbox import DockerSandbox
from offline_assistants.ports import ExecutionEnded, FileMade, Image, Logs, SandboxFile
from offline_assistants.settings import Settings

pytestmark = pytest.mark.timeout(240)
BACKENDS = [pytest.param("docker", marks=pytest.mark.docker), pytest.param("bubblewrap", marks=pytest.mark.bubblewrap)]

SALES = "Region,Month,Sales,Price\n" + "".join(
    f"{region},{month},{'' if month == 7 else 100 + 10 * month + 5 * number},{9.5 + number}\n"
    for number, region in enumerate(("Nord", "Süd", "Østlandet", "北部"))
    for month in range(1, 13)
)

CELLS = [
    "import pandas as pd\nsales = pd.read_csv('sales.csv')\nsales.head()",
    "sales.shape, int(sales['Sales'].isna().sum())",
    "sales = sales.dropna().astype({'Sales': int})\nlen(sales)",
    "sales['Revenue'] = sales['Sales'] * sales['Price']\nround(sales['Revenue'].sum(), 2)",
    "by_region = sales.groupby('Region', as_index=False)['Revenue'].sum()\nby_region",
    "import matplotlib.pyplot as plt\nby_region.plot.bar(x='Region', y='Revenue', title='Erlöse nach Region 地区')\nplt.tight_layout()\n"
    "plt.savefig('regions.png')\nplt.show()",
    "import seaborn as sns\nsns.lineplot(sales, x='Month', y='Sales', hue='Region')\nplt.savefig('months.png')\nplt.show()",
    "sales['Sales'].plot.hist(bins=8)\nplt.savefig('spread.png')\nplt.show()",
    "from sklearn.linear_model import LinearRegression\nmodel = LinearRegression().fit(sales[['Month', 'Price']], sales['Sales'])\n"
    "round(model.score(sales[['Month', 'Price']], sales['Sales']), 3)",
    "import statsmodels.formula.api as smf\nfit = smf.ols('Sales ~ Month', sales).fit()\nround(fit.params['Month'], 2)",
    "from scipy import stats\nround(stats.pearsonr(sales['Month'], sales['Sales']).statistic, 2)",
    "no_such_variable",
    "forecast = pd.DataFrame({'Month': [13, 14], 'Price': [10.0, 10.0]})\nforecast['Sales'] = model.predict(forecast).round(1)\nforecast",
    "with pd.ExcelWriter('report.xlsx', engine='xlsxwriter') as writer:\n    sales.to_excel(writer, sheet_name='Sales', index=False)\n"
    "    by_region.to_excel(writer, sheet_name='Regions', index=False)\n    writer.sheets['Regions'].insert_image('D2', 'regions.png')",
    "import openpyxl\nopenpyxl.load_workbook('report.xlsx').sheetnames",
    "import docx\ndocument = docx.Document()\ndocument.add_heading('Umsätze 2026', 0)\ndocument.add_paragraph(f'Total: {sales.Revenue.sum():.2f} €')\n"
    "document.add_picture('months.png')\ndocument.save('report.docx')",
    "from pptx import Presentation\nfrom pptx.util import Inches\nslides = Presentation()\nfor name in ('regions', 'months', 'spread'):\n"
    "    slide = slides.slides.add_slide(slides.slide_layouts[5])\n    slide.shapes.title.text = name\n"
    "    slide.shapes.add_picture(name + '.png', Inches(1), Inches(2), height=Inches(4))\nslides.save('report.pptx')",
    "from reportlab.pdfgen.canvas import Canvas\npage = Canvas('report.pdf')\npage.drawString(72, 720, 'Sales')\npage.save()",
    "import zipfile\nwith zipfile.ZipFile('all.zip', 'w', zipfile.ZIP_DEFLATED) as bundle:\n"
    "    for name in ('report.xlsx', 'report.docx', 'report.pptx', 'report.pdf', 'regions.png', 'months.png', 'spread.png'):\n        bundle.write(name)",
    "print(sorted(zipfile.ZipFile('all.zip').namelist()), len(sales), model.n_features_in_)",
]
FAILING = CELLS.index("no_such_variable")


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_conversation_of_twenty_calls_makes_files_that_open(tmp_path: Path, backend: str) -> None:
    name, images = f"test-{uuid.uuid4().hex}", Settings().sandbox_images
    statuses: list[str] = []
    files: dict[str, bytes] = {}
    num_images, last_text = 0, ""
    async with DockerSandbox(name) if backend == "docker" else BubblewrapSandbox(name, images=images) as sandbox:
        for cell in CELLS:
            events = [event async for event in sandbox.execute("thread_a", cell, [SandboxFile("file-s", "sales.csv", SALES.encode())], 60.0)]
            statuses += [event.status for event in events if isinstance(event, ExecutionEnded)]
            files |= {event.path.removeprefix("/mnt/data/"): event.content for event in events if isinstance(event, FileMade)}
            num_images += sum(isinstance(event, Image) for event in events)
            last_text = "".join(event.text for event in events if isinstance(event, Logs))

    assert statuses == ["error" if number == FAILING else "ok" for number in range(20)]
    assert num_images == 3
    assert last_text.endswith("44 2\n")
    assert set(files) == {*(f"report.{kind}" for kind in ("xlsx", "docx", "pptx", "pdf")), "regions.png", "months.png", "spread.png", "all.zip"}
    with zipfile.ZipFile(io.BytesIO(files["all.zip"])) as bundle:
        assert {name: bundle.read(name) for name in bundle.namelist()} == {name: content for name, content in files.items() if name != "all.zip"}
    await open_in_office({name: content for name, content in files.items() if name.endswith(("xlsx", "docx", "pptx"))}, tmp_path)


async def open_in_office(files: dict[str, bytes], folder: Path) -> None:
    """LibreOffice turns each into a PDF. Where it is not installed, the parts of each archive are read, which is less."""
    office = shutil.which("soffice")
    print("opened by", office or "zipfile")
    for name, content in files.items():
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None
            assert "[Content_Types].xml" in archive.namelist()
        if office is not None:
            (folder / name).write_bytes(content)
            command = [office, f"-env:UserInstallation=file://{folder}/profile", "--headless", "--convert-to", "pdf", "--outdir", str(folder / name[-4:]), name]
            process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
            assert await process.wait() == 0
            assert (folder / name[-4:] / "report.pdf").read_bytes().startswith(b"%PDF")
