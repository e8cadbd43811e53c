"""What Python sessions do and must not let happen, whatever closes them off: what code shows, files, limits, deaths, walls."""

from __future__ import annotations

import asyncio
import os
import struct
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest
import pytest_asyncio

from offline_assistants.code_interpreter.bubblewrap_sandbox import BubblewrapSandbox
from offline_assistants.code_interpreter.docker_sandbox import DockerSandbox
from offline_assistants.code_interpreter.session_sandbox import SessionSandbox
from offline_assistants.code_interpreter.sessions import SessionLimits
from offline_assistants.ports import ExecutionEnded, Logs, SandboxFile
from offline_assistants.settings import Settings
from tests.contract.conversations import LIMITS, Conversation, Outcome

pytestmark = [pytest.mark.timeout(90), pytest.mark.asyncio(loop_scope="module")]

OpenSandbox = Callable[[SessionLimits], SessionSandbox]


@pytest.fixture(scope="module", params=[pytest.param("docker", marks=pytest.mark.docker), pytest.param("bubblewrap", marks=pytest.mark.bubblewrap)])
def open_sandbox(request: pytest.FixtureRequest) -> OpenSandbox:
    def open_one(limits: SessionLimits) -> SessionSandbox:
        name = f"test-{uuid.uuid4().hex}"
        if request.param == "docker":
            return DockerSandbox(name, output_limits=LIMITS, session_limits=limits)
        return BubblewrapSandbox(name, images=Settings().sandbox_images, output_limits=LIMITS, session_limits=limits)

    return open_one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(open_sandbox: OpenSandbox) -> AsyncIterator[SessionSandbox]:
    async with open_sandbox(SessionLimits(max_sessions=3)) as opened:
        yield opened


# ── A Python session ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_variables_imports_and_functions_last_from_call_to_call(shared: Conversation) -> None:
    await shared.run("import math\nx = 20\ndef twice(n):\n    return 2 * n")

    outcome = await shared.run("twice(x) + math.floor(2.5)")

    assert outcome.text == "42\n"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("'last expression'", "'last expression'\n"),
        ("None", ""),
        ("7;", ""),
        ("print('a'); 'b'", "a\n'b'\n"),
        ("display('shown')", "'shown'\n"),
        ("from IPython.display import display\ndisplay(1, 2)", "1\n2\n"),
        ("%matplotlib inline\nprint('magic')", "magic\n"),
        ("import asyncio\nawait asyncio.sleep(0, 'awaited')", "'awaited'\n"),
        ("import os\n_ = os.system('echo from a child')", "from a child\n"),
        ("print('Grüße, 世界 🎉', '\\udc80')", "Grüße, 世界 🎉 \\udc80\n"),
        ("import sys\nsys.exit()", ""),
        ("__name__", "'__main__'\n"),
    ],
)
async def test_code_shows_what_a_notebook_would_show(shared: Conversation, code: str, text: str) -> None:
    outcome = await shared.run(code)

    assert (outcome.text, outcome.end) == (text, ExecutionEnded("ok"))


async def test_a_cell_that_silences_stdout_silences_only_itself(shared: Conversation) -> None:
    await shared.run("import sys, io, os\nsys.stdout = io.StringIO()\nsys.stderr.close()\nos.close(1)")

    assert (await shared.run("print('heard')")).text == "heard\n"


async def test_a_traceback_shows_the_code_and_nothing_of_the_kernel(shared: Conversation) -> None:
    outcome = await shared.run("import pandas as pd\ndef pick(table):\n    return table['no such column']\npick(pd.DataFrame({'a': [1]}))")

    assert outcome.end == ExecutionEnded("error")
    assert "line 4, in <module>\n    pick(" in outcome.text
    assert "line 3, in pick\n    return table['no such column']" in outcome.text
    assert outcome.text.endswith("KeyError: 'no such column'\n")
    assert "/opt/kernel" not in outcome.text
    assert len(outcome.text.splitlines()) < 15


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("def broken(:", "SyntaxError: invalid syntax"),
        ("input('name? ')", "nobody can type here"),
        ("!pip install requests", "shell commands are not available"),
        ("import requests", "No module named 'requests'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("'\\0' + chr(0)\n\0", "null bytes"),
        ("def again():\n    again()\nagain()", "RecursionError"),
        ("class Odd(Exception):\n    def __str__(self):\n        raise ValueError\nraise Odd", "Odd"),
        ("class Odd:\n    def __repr__(self):\n        raise ValueError('no repr')\nOdd()", "no repr"),
        ("('('*5000)\neval('('*5000)", "Error"),
    ],
)
async def test_an_error_is_text_that_helps_to_correct_the_code(shared: Conversation, code: str, text: str) -> None:
    outcome = await shared.run(code)

    assert outcome.end == ExecutionEnded("error")
    assert text in outcome.text
    assert (await shared.run("1 + 1")).text == "2\n"


async def test_figures_are_shown_in_order_with_the_text_around_them(shared: Conversation) -> None:
    outcome = await shared.run(
        "import matplotlib.pyplot as plt\nprint('before')\nplt.plot([1, 2])\nplt.title('Größe 大小')\nplt.show()\nprint('after')\nplt.figure();"
    )

    kinds = [type(event).__name__ for event in outcome.events]
    assert kinds == ["Logs", "Image", "Logs", "Image", "ExecutionEnded"]
    assert outcome.text == "before\nafter\n"
    assert all(image.startswith(b"\x89PNG\r\n\x1a\n") for image in outcome.images)


async def test_a_picture_as_last_expression_is_shown(shared: Conversation) -> None:
    outcome = await shared.run("from PIL import Image\nImage.new('RGB', (30, 20), 'red')")

    assert struct.unpack(">II", outcome.images[0][16:24]) == (30, 20)


async def test_more_images_than_allowed_are_named_and_left_out(shared: Conversation) -> None:
    outcome = await shared.run("import matplotlib.pyplot as plt\nfor number in range(5):\n    plt.figure(figsize=(1, 1))\n    plt.show()")

    assert len(outcome.images) == LIMITS.images
    assert "[More than 3 images: the rest is left out.]" in outcome.text


async def test_all_libraries_of_the_image_can_be_imported(shared: Conversation) -> None:
    outcome = await shared.run(
        "import numpy, pandas, scipy.stats, matplotlib, seaborn, sklearn.linear_model, statsmodels.api, sympy, PIL, openpyxl, xlsxwriter, xlrd, docx, pptx, "
        "pypdf, reportlab.pdfgen, networkx, bs4, lxml.etree, tabulate, yaml, jinja2",
        timeout_s=80,
    )

    assert (outcome.text, outcome.end.status) == ("", "ok")


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_file_is_there_by_id_and_by_name_and_is_not_handed_back(shared: Conversation) -> None:
    files = [SandboxFile("file-abc", "Umsätze 2026 (Ω).csv", b"a,b\n1,2\n")]

    outcome = await shared.run("print(open('/mnt/data/file-abc').read() == open('/mnt/data/Umsätze 2026 (Ω).csv').read() == 'a,b\\n1,2\\n')", files=files)

    assert outcome.text == "True\n"
    assert outcome.files == {}


async def test_a_file_that_the_session_has_is_not_sent_again(shared: Conversation) -> None:
    files = [SandboxFile("file-once", "once.txt", b"original")]
    changed = await shared.run("_ = open('once.txt', 'w').write('changed')", files=files)

    outcome = await shared.run("open('file-once').read()", files=files)

    assert changed.files == {"/mnt/data/once.txt": b"changed"}
    assert outcome.text == "'changed'\n"
    assert outcome.files == {}


async def test_a_file_of_an_earlier_session_is_back_where_it_was_and_is_not_handed_out_again(conversation: Conversation) -> None:
    made = SandboxFile("file-m", "model.txt", b"weights", path="/mnt/data/out/model.txt")

    outcome = await conversation.run("print(open('/mnt/data/out/model.txt').read())", files=[made])

    assert "weights" in outcome.text
    assert outcome.files == {}


async def test_code_is_told_when_the_session_of_its_earlier_calls_is_gone(sandbox: SessionSandbox) -> None:
    made = SandboxFile("file-m", "m.txt", b"m", path="/mnt/data/m.txt")
    threads = [(f"thread_{uuid.uuid4().hex}", files) for files in ([], [made])]

    told = [Outcome([event async for event in sandbox.execute(name, "1", files, 30, has_run_before=True)]) for name, files in threads]

    for name, _ in threads:
        await sandbox.close(name)
    assert "Its variables, and the files it made, are gone." in told[0].text
    assert "files it made are back in /mnt/data" in told[1].text
    assert all(outcome.end.is_state_lost for outcome in told)


async def test_a_call_that_has_to_wait_says_so_first(open_sandbox: OpenSandbox) -> None:
    async with open_sandbox(SessionLimits(max_sessions=1)) as small:
        busy, waiting = Conversation(small), Conversation(small)
        first = asyncio.create_task(busy.run("import time; time.sleep(4)"))
        await asyncio.sleep(1.0)

        outcome = await waiting.run("print('my turn')")

        await first
    assert outcome.text == "[All Python sessions are busy; this call waits for one. It is number 1 in the queue.]\nmy turn\n"


async def test_a_spare_session_has_its_libraries_imported(open_sandbox: OpenSandbox) -> None:
    async with open_sandbox(SessionLimits()) as warmed:
        await warmed.warm()
        await asyncio.sleep(0.01)  # what is being opened is waited for
        outcome = await Conversation(warmed).run("import sys; print('pandas' in sys.modules)")

    assert outcome.text == "True\n"


async def test_libraries_that_are_imported_late_are_adapted_too(conversation: Conversation) -> None:
    code = "import sys; print('pandas' in sys.modules)\nimport pandas as pd, matplotlib.pyplot as plt\n"

    outcome = await conversation.run(code + "print(pd.get_option('display.width'))\nplt.plot([1, 2])\nplt.show()\nprint('after')")

    assert outcome.text == "False\n120\nafter\n"
    assert len(outcome.images) == 1


async def test_names_that_would_lead_elsewhere_are_made_harmless(shared: Conversation) -> None:
    files = [SandboxFile("file-x", "../../etc/passwd", b"1"), SandboxFile("file-y", "..", b"2"), SandboxFile("file-z", "a\nb.txt", b"3")]

    outcome = await shared.run("[open(name).read() for name in ('passwd', 'file-y', 'a_b.txt')]", files=files)

    assert outcome.text == "['1', '2', '3']\n"


async def test_a_png_and_a_csv_come_out_byte_for_byte(shared: Conversation) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    png = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")
    )

    outcome = await shared.run(
        f"import os\nos.makedirs('out/ä', exist_ok=True)\nopen('out/ä/red.png', 'wb').write({png!r})\nopen('sums.csv', 'w').write('a,b\\n1,2\\n');"
    )

    assert outcome.files == {"/mnt/data/out/ä/red.png": png, "/mnt/data/sums.csv": b"a,b\n1,2\n"}


async def test_only_new_and_changed_files_come_out(shared: Conversation) -> None:
    await shared.run("for name in ('kept', 'grown'):\n    with open(name, 'w') as file:\n        file.write(name)")

    outcome = await shared.run("with open('grown', 'a') as file:\n    file.write('!')")

    assert outcome.files == {"/mnt/data/grown": b"grown!"}


async def test_five_megabytes_go_in_and_out_quickly(shared: Conversation) -> None:
    content = os.urandom(5_000_000)
    began = time.monotonic()

    outcome = await shared.run(
        "with open('copy.bin', 'wb') as file:\n    file.write(open('file-big', 'rb').read())", files=[SandboxFile("file-big", "big.bin", content)]
    )

    assert outcome.files == {"/mnt/data/copy.bin": content}
    assert time.monotonic() - began < 20  # a fifth of a second, on a machine that has nothing else to do


async def test_files_over_a_limit_are_named_and_left_out(conversation: Conversation) -> None:
    many = await conversation.run("for number in range(15):\n    with open(f'{number:02}.txt', 'w') as file:\n        file.write('x')")
    huge = await conversation.run("with open('huge.bin', 'wb') as file:\n    file.truncate(25_000_000)")

    assert len(many.files) == LIMITS.files
    assert "[Not handed over: /mnt/data/14.txt, because there are more than 10 new files.]" in many.text
    assert huge.files == {}
    assert "[Not handed over: /mnt/data/huge.bin, because it is too large (25.0 MB).]" in huge.text


async def test_files_that_are_too_much_together_are_named_and_left_out(conversation: Conversation) -> None:
    outcome = await conversation.run("for number in range(2):\n    with open(f'{number}.bin', 'wb') as file:\n        file.truncate(18_000_000)")

    assert list(outcome.files) == ["/mnt/data/0.bin"]
    assert "[Not handed over: /mnt/data/1.bin, because the new files of one call may have 30 MB together.]" in outcome.text


async def test_a_file_that_is_not_handed_over_is_named_beside_many_images(conversation: Conversation) -> None:
    show = "import matplotlib.pyplot as plt\nfor _ in range(30):\n    plt.figure(figsize=(1, 1))\n    plt.show()\n"

    outcome = await conversation.run(show + "with open('huge.bin', 'wb') as file:\n    file.truncate(25_000_000)")

    assert outcome.text.count("images: the rest is left out") == 1
    assert "Not handed over: /mnt/data/huge.bin" in outcome.text


async def test_a_deep_folder_in_the_place_of_a_file_gives_way_to_it(conversation: Conversation) -> None:
    await conversation.run("import os\npath = 'file-deep'\nfor _ in range(1500):\n    os.mkdir(path)\n    path += '/d'")

    outcome = await conversation.run("open('deep.txt').read()", files=[SandboxFile("file-deep", "deep.txt", b"here")])

    assert outcome.text == "'here'\n"


async def test_a_file_whose_path_is_too_long_hides_none_beside_it(conversation: Conversation) -> None:
    into_the_deep = "import os\nfor _ in range(16):\n    os.mkdir('d' * 250)\n    os.chdir('d' * 250)\n"

    outcome = await conversation.run(into_the_deep + "for name in ('before', 'x' * 250, 'after'):\n    open(name, 'w').close()\nos.chdir('/mnt/data')")

    assert sorted(path.rpartition("/")[2] for path in outcome.files) == ["after", "before"]
    assert outcome.text == ""


async def test_links_pipes_and_odd_names_never_leave_the_sandbox(conversation: Conversation) -> None:
    outcome = await conversation.run(
        "import os\n"
        "os.symlink('/etc/shadow', 'report.csv')\n"
        "os.symlink('/proc/1', 'folder')\n"
        "try:\n"
        "    os.mkfifo('pipe.csv')\n"
        "except PermissionError:\n"
        "    print('no pipes')\n"
        "for name in (b'bad-\\xff', b'new\\nline', b'-rf', b'x' * 255):\n"
        "    with open(name, 'w') as file:\n"
        "        file.write('x')\n"
        "deep = '/'.join(['d'] * 60)\n"
        "os.makedirs(deep)\n"
        "with open(deep + '/far.txt', 'w') as file:\n"
        "    file.write('x')\n"
    )

    assert set(outcome.files) == {"/mnt/data/-rf", "/mnt/data/" + "x" * 255}
    assert outcome.text.count("because its name is not plain text") == 2
    assert outcome.end.status == "ok"


async def test_a_file_that_does_not_fit_is_named_and_leaves_nothing(conversation: Conversation) -> None:
    outcome = await conversation.run("import os\nos.listdir('.')", files=[SandboxFile("file-big", "big.bin", bytes(270_000_000))])

    assert outcome.text.splitlines()[0].startswith("[The file big.bin could not be placed in /mnt/data: ")
    assert outcome.text.splitlines()[1] == "[]"


async def test_a_full_disk_and_an_endless_file_are_plain_errors(conversation: Conversation) -> None:
    endless = await conversation.run("with open('sparse', 'wb') as file:\n    file.truncate(10**12)")
    full = await conversation.run("for number in range(99):\n    with open(f'/mnt/data/{number}', 'wb') as file:\n        file.write(bytes(30_000_000))")
    crowd = await conversation.run("import os\nfor name in os.listdir('.'):\n    os.unlink(name)\nfor number in range(10**6):\n    os.mkdir(str(number))")

    assert "File too large" in endless.text
    assert "No space left on device" in full.text
    assert "No space left on device" in crowd.text
    assert (await conversation.run("1")).text == "1\n"


async def test_a_folder_that_the_code_closed_to_us_does_not_stop_the_next_file(conversation: Conversation) -> None:
    await conversation.run("import os\nos.chmod('/mnt/data', 0)")

    outcome = await conversation.run("open('late.txt').read()", files=[SandboxFile("file-late", "late.txt", b"late")])

    assert outcome.text == "'late'\n"


# ── Limits of time and output ────────────────────────────────────────────────────────────────────────────────────────


async def test_after_a_timeout_variables_are_kept(shared: Conversation) -> None:
    await shared.run("x = 41")

    outcome = await shared.run("x += 1\nwhile True:\n    pass", timeout_s=1.0)

    assert outcome.end == ExecutionEnded("timeout", is_state_lost=False)
    assert "[Stopped after 1 s, the time limit of one call. Variables and files are kept.]" in outcome.text
    assert (await shared.run("x")).text == "42\n"


async def test_code_that_ignores_the_interrupt_is_ended_and_its_files_are_kept(shared: Conversation) -> None:
    outcome = await shared.run(
        "import signal, time\n"
        "with open('kept.txt', 'w') as file:\n"
        "    file.write('kept')\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "while True:\n"
        "    time.sleep(1)",
        timeout_s=2.0,
    )

    assert outcome.end == ExecutionEnded("timeout", is_state_lost=True)
    assert "Variables are lost; files in /mnt/data are kept." in outcome.text
    assert outcome.files == {"/mnt/data/kept.txt": b"kept"}
    assert (await shared.run("open('kept.txt').read()")).text == "'kept'\n"


async def test_endless_output_is_cut_in_the_middle_and_says_so(shared: Conversation) -> None:
    outcome = await shared.run("print('first')\nwhile True:\n    print('y' * 1000)", timeout_s=1.0)

    assert outcome.end.status == "timeout"
    assert outcome.text.startswith("first\n")
    assert "characters left out ...]" in outcome.text
    assert "KeyboardInterrupt" in outcome.text[-500:]
    assert len(outcome.text) < LIMITS.log_chars + 500


async def test_output_arrives_while_the_code_runs(shared: Conversation) -> None:
    began = time.monotonic()
    async with aclosing(shared.sandbox.execute(shared.thread_id, "import time\nprint('now')\ntime.sleep(20)", [], 30.0)) as events:
        first = await anext(events)

    assert first == Logs("now\n")
    assert time.monotonic() - began < 15


async def test_closing_the_iterator_interrupts_the_code_and_keeps_variables(shared: Conversation) -> None:
    async with aclosing(shared.sandbox.execute(shared.thread_id, "x = 'kept'\nprint(x)\nwhile True:\n    pass", [], 60.0)) as events:
        await anext(events)
    began = time.monotonic()

    outcome = await shared.run("x")

    assert outcome.text == "'kept'\n"
    assert time.monotonic() - began < 30


async def test_cancelling_the_task_interrupts_the_code(shared: Conversation) -> None:
    await shared.run("x = 'kept'")
    task = asyncio.create_task(shared.run("while True:\n    pass", timeout_s=60.0))
    await asyncio.sleep(0.5)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await shared.run("x")).text == "'kept'\n"


async def test_two_threads_run_side_by_side(sandbox: SessionSandbox) -> None:
    one, other = Conversation(sandbox), Conversation(sandbox)
    await asyncio.gather(one.run("import time\nname = 'one'"), other.run("import time\nname = 'other'"))
    code = "began = time.time()\ntime.sleep(3)\nprint(name, began, time.time())"

    outcomes = await asyncio.gather(one.run(code), other.run(code))

    (first, first_began, first_ended), (second, second_began, second_ended) = (outcome.text.split() for outcome in outcomes)
    assert (first, second) == ("one", "other")
    assert max(float(first_began), float(second_began)) < min(float(first_ended), float(second_ended))


async def test_calls_of_one_thread_run_one_after_the_other(shared: Conversation) -> None:
    await shared.run("order = []")

    await asyncio.gather(*(shared.run(f"import time\norder.append('begin')\ntime.sleep(0.1)\norder.append('end')  # {number}") for number in range(3)))

    assert (await shared.run("order")).text == f"{['begin', 'end'] * 3}\n"


# ── Deaths ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os\nos._exit(3)", "ended itself with exit code 3"),
        ("import ctypes\nctypes.string_at(0)", "ended by SIGSEGV"),
        ("import os\nos.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("hoard = []\nwhile True:\n    hoard.append(bytearray(10**7))", "needed more memory than there is"),
        ("import os\nos.closerange(3, 4096)", "Variables are lost"),
    ],
)
async def test_the_death_of_python_is_reported_and_the_next_call_works(shared: Conversation, code: str, reason: str) -> None:
    await shared.run("x = 1\nwith open('kept.txt', 'w') as file:\n    file.write('kept')")

    outcome = await shared.run(code)

    assert outcome.end == ExecutionEnded("crashed", is_state_lost=True)
    assert reason in outcome.text
    assert (await shared.run("open('kept.txt').read(), 'x' in globals()")).text == "('kept', False)\n"


async def test_a_death_between_calls_is_told_at_the_next_one(shared: Conversation) -> None:
    await shared.run("import threading, os\nthreading.Timer(0.2, os._exit, (5,)).start()")
    await asyncio.sleep(2.5)

    outcome = await shared.run("print('runs')")

    assert outcome.text.startswith("[Since the last call: The Python process ended itself with exit code 5.")
    assert outcome.text.endswith("runs\n")
    assert outcome.end == ExecutionEnded("ok", is_state_lost=True)


async def test_a_fork_bomb_ends_with_its_call(shared: Conversation) -> None:
    outcome = await shared.run("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass", timeout_s=2.0)

    assert outcome.end.status == "timeout"
    living = "import pathlib\nsum(b') Z ' not in status.read_bytes() for status in pathlib.Path('/proc').glob('[0-9]*/stat'))"
    assert (await shared.run(living)).text == "2\n"  # the dead may wait for their parent, where that is the session itself


async def test_a_swarm_of_processes_ends_with_the_call_that_started_it(shared: Conversation) -> None:
    await shared.run("import subprocess\nchildren = [subprocess.Popen(['sleep', '1000'], start_new_session=True) for _ in range(30)]")

    assert (await shared.run("{child.wait() for child in children}")).text == "{-9}\n"


async def test_parallel_code_works_in_one_call_after_the_other(shared: Conversation) -> None:
    code = (
        "from joblib import Parallel, delayed\n"
        "from multiprocessing import Pool\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "print(Parallel(n_jobs=2)(delayed(abs)(-number) for number in range(3)))\n"
        "with Pool(2) as pool, ThreadPoolExecutor(2) as threads:\n"
        "    print(pool.map(abs, [-1]), list(threads.map(abs, [-2])))\n"
    )

    outcomes = [await shared.run(code), await shared.run(code)]

    assert [outcome.text for outcome in outcomes] == ["[0, 1, 2]\n[1] [2]\n"] * 2


# ── Walls ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_there_is_no_network(shared: Conversation) -> None:
    outcome = await shared.run(
        "import socket\n"
        "for address in ('203.0.113.80', '172.17.0.1', '2001:db8::1'):\n"
        "    try:\n"
        "        socket.create_connection((address, 80), timeout=2)\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
        "try:\n"
        "    socket.getaddrinfo('example.org', 80)\n"
        "except OSError as error:\n"
        "    print(type(error).__name__)\n"
    )

    assert (
        outcome.text.splitlines() == ["Network is unreachable", "Network is unreachable", "Cannot assign requested address", "gaierror"]
        or outcome.text.count("unreachable") == 3
    )


async def test_nothing_is_writable_but_data_and_temporary_files(shared: Conversation) -> None:
    outcome = await shared.run(
        "import os\n"
        "writable = []\n"
        "for folder, folders, files in os.walk('/'):\n"
        "    if folder.startswith(('/proc', '/sys')):\n"
        "        folders.clear()\n"
        "    elif os.access(folder, os.W_OK):\n"
        "        writable.append(folder)\n"
        "        folders.clear()\n"
        "sorted(set(writable) - {'/dev/mqueue'})"
    )

    assert outcome.text == "['/dev/shm', '/mnt/data', '/tmp']\n"


async def test_the_process_has_no_powers(shared: Conversation) -> None:
    outcome = await shared.run(
        "print(''.join(line for line in open('/proc/self/status') if line.startswith(('Uid', 'CapEff', 'CapBnd', 'NoNewPrivs', 'Seccomp:'))))"
    )

    assert outcome.text.split() == ["Uid:", *["10001"] * 4, "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2"]


@pytest.mark.parametrize(
    "call",
    [
        "101, 0, 0, 0",
        "425, 8, 0",
        "272, 0x10000000",
        "165, 0, 0, 0",
        "321, 0",
        "250, 0",
        "323, 0",
        "310, 1, 0",
        "298, 0",
        "438, 0",
        "133, b'/tmp/n', 0o20666, 259",
        "41, 40, 1",
        "41, 38, 5",
        "41, 16, 3",
    ],
    ids=[
        "ptrace",
        "io_uring",
        "unshare",
        "mount",
        "bpf",
        "keyctl",
        "userfaultfd",
        "process_vm_readv",
        "perf",
        "pidfd_getfd",
        "mknod",
        "vsock",
        "alg",
        "netlink",
    ],
)
async def test_a_system_call_that_nobody_needs_is_refused(shared: Conversation, call: str) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers are those of x86-64")

    outcome = await shared.run(f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nlibc.syscall({call}), ctypes.get_errno()")

    assert outcome.text == "(-1, 1)\n"


async def test_the_kernel_is_out_of_reach(shared: Conversation) -> None:
    outcome = await shared.run(
        "import os\n"
        "for path in ('/proc/1/fd/0', '/proc/1/fd/1', '/proc/1/mem'):\n"
        "    try:\n"
        "        open(path, 'rb')\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
        "for number in (9, 15, 19, 2):\n"
        "    os.kill(1, number)\n"
    )

    assert outcome.text == "Permission denied\n" * 3
    assert (await shared.run("'alive'")).text == "'alive'\n"


async def test_forged_frames_of_the_worker_end_only_the_worker(shared: Conversation) -> None:
    outcome = await shared.run(
        "import os, stat, time\n"
        "for fd in range(3, 64):\n"
        "    try:\n"
        "        if stat.S_ISSOCK(os.fstat(fd).st_mode):\n"
        "            os.write(fd, b'\\xff' * 100)\n"
        "    except OSError:\n"
        "        pass\n"
        "time.sleep(5)\n"
    )

    assert outcome.end == ExecutionEnded("crashed", is_state_lost=True)
    assert (await shared.run("1")).text == "1\n"


async def test_the_image_has_no_setuid_file_no_compiler_and_no_installer(shared: Conversation) -> None:
    outcome = await shared.run(
        "import os, shutil, stat, importlib.util\n"
        "paths = [os.path.join(folder, name) for root in ('/usr', '/opt', '/etc', '/var') for folder, _, names in os.walk(root) for name in names]\n"
        "privileged = [path for path in paths if os.lstat(path).st_mode & (stat.S_ISUID | stat.S_ISGID) and not os.path.islink(path)]\n"
        "privileged, [name for name in ('cc', 'gcc', 'clang', 'tcc', 'pip', 'pip3', 'curl', 'wget') if shutil.which(name)], importlib.util.find_spec('pip')"
    )

    assert outcome.text == "([], [], None)\n"


async def test_no_certificate_of_the_building_machine_is_in_the_image(shared: Conversation) -> None:
    assert (await shared.run("import os\nos.path.isdir('/usr/local/share/ca-certificates') and os.listdir('/usr/local/share/ca-certificates')")).text in (
        "False\n",
        "[]\n",
    )
