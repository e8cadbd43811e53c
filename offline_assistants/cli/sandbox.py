"""`sandbox`: what code_interpreter runs in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.text import Text

from offline_assistants.cli.terminal import AsJson, console, examples, of_server, progress, say, show_json
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.settings import Settings

if TYPE_CHECKING:
    from offline_assistants.code_interpreter.docker_engine import DockerEngine
    from offline_assistants.code_interpreter.self_check import Finding

# Heavy parts are imported where they are used: --help and completion shall not wait for them.

_T = TypeVar("_T")
LOOK_EVERY_S = 0.2
sandbox = typer.Typer(help="What code_interpreter runs in.", epilog=examples("sandbox check", "sandbox build"), no_args_is_help=True)


@sandbox.command("build", epilog=examples("sandbox build", "sandbox build --prune"))
@of_server
def build_sandbox(prune: Annotated[bool, typer.Option("--prune", help="Also remove the images that other versions built.")] = False) -> None:
    """Build the image, if it is not there already. May download Debian and Python packages."""

    from offline_assistants.code_interpreter.image import build_image, older_images
    from offline_assistants.code_interpreter.image_delivery import build_unpacked, is_for_bubblewrap
    from offline_assistants.code_interpreter.unpacked_image import remove_other_images

    settings = Settings()

    async def build(engine: DockerEngine) -> tuple[str, list[str]]:
        if await is_for_bubblewrap(settings.sandbox_engine, engine):
            tag = await build_unpacked(say, engine=engine, images=settings.sandbox_images)
            for name in remove_other_images(settings.sandbox_images, tag) if prune else ():
                say(f"Removed {settings.sandbox_images / name}.")
            return tag, []
        tag, older = await build_image(say, engine=engine), await older_images(engine=engine)
        for each in older if prune else ():
            await engine.remove_image(each)
            say(f"Removed {each}.")
        return tag, [] if prune else older

    tag, older = asyncio.run(_with_engine(build))
    console.print(f"The sandbox image is ready: {tag}", highlight=False)
    if older:
        say(f"Images of other versions are there, too: {', '.join(older)}. They go with `offline-assistants sandbox build --prune`.")


@sandbox.command("export", epilog=examples("sandbox export sandbox.tar"))
@of_server
def export_sandbox(file: Annotated[Path, typer.Argument(help="The archive to write; about 1 GB.")]) -> None:
    """Write the image to a file, for a machine that cannot build it."""
    from offline_assistants.code_interpreter.image import export_image

    async def export(engine: DockerEngine) -> str:
        return await _watched(export_image(file, engine=engine), f"writing {file.name}", 0, lambda: _written(file))

    tag = asyncio.run(_with_engine(export))
    console.print(f"{file} holds {tag}, {file.stat().st_size / 1e6:.0f} MB.", highlight=False, soft_wrap=True)


@sandbox.command("import", epilog=examples("sandbox import sandbox.tar"))
@of_server
def import_sandbox(file: Annotated[Path, typer.Argument(help="What `sandbox export` wrote, with the same version of offline-assistants.")]) -> None:
    """Load the image from a file: into Docker, or unpacked for bubblewrap."""
    from offline_assistants.code_interpreter.image_delivery import import_where_it_is_used

    name, images = Settings().sandbox_engine, Settings().sandbox_images
    num_bytes = file.stat().st_size if file.is_file() else 0

    async def take(engine: DockerEngine) -> str:
        taking = import_where_it_is_used(file, engine_name=name, engine=engine, images=images)
        return await _watched(taking, f"reading {file.name}", num_bytes, lambda: _position(file))

    tag = asyncio.run(_with_engine(take))
    console.print(f"The sandbox image is ready: {tag}", highlight=False)


async def _watched(work: Coroutine[Any, Any, _T], what: str, total: int, so_far: Callable[[], int]) -> _T:
    """Shows how far `work` is, by asking now and then how many bytes are done."""
    working, shown = asyncio.create_task(work), 0
    with progress(what, total) as advance:
        try:
            while not working.done():
                await asyncio.wait((working,), timeout=LOOK_EVERY_S)
                now = so_far()
                advance(now - shown)
                shown = now
        finally:
            working.cancel()  # does nothing to what is done
            await asyncio.wait((working,))
    return working.result()


def _written(file: Path) -> int:
    """How much of the archive is there: under a name of its own until it is whole."""
    with suppress(OSError):  # it got its name meanwhile
        return sum(each.stat().st_size for each in file.parent.glob(f".{escape(file.name)}.*.part"))
    return 0


def _position(file: Path) -> int:
    """How far this process has read a file, as Linux tells it."""
    with suppress(OSError):
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # it was closed meanwhile
                if descriptor.samefile(file):
                    return int((Path("/proc/self/fdinfo") / descriptor.name).read_text("ascii").split()[1])
    return 0


async def _with_engine(work: Callable[[DockerEngine], Awaitable[_T]]) -> _T:
    from offline_assistants.code_interpreter.docker_engine import DockerEngine

    engine = DockerEngine(Settings().docker_host)
    try:
        return await work(engine)
    finally:
        await engine.close()


@sandbox.command("check", epilog=examples("sandbox check", "sandbox check --full", "sandbox check --json | jq .is_safe"))
@of_server
def check_sandbox(
    full: Annotated[bool, typer.Option("--full", help="Also attack it in every way known; takes a minute or two.")] = False, *, as_json: AsJson = False
) -> None:
    """Run code that tries each wall of the sandbox. Exit code 1 when code_interpreter is unavailable or a wall that matters does not hold."""
    found: list[Finding] = []

    def tell(finding: Finding) -> None:
        found.append(finding)
        if not as_json:
            console.print(_line(finding), highlight=False, soft_wrap=True)

    def describe(line: str) -> None:
        if not as_json:
            say(line)

    runs_in = asyncio.run(_check_sandbox(describe, tell, is_thorough=full))
    broken = sum(finding.check.is_vital and not finding.holds for finding in found)
    if as_json:
        show_json({"runs_in": runs_in, "is_safe": not broken, "checks": [_wire(finding) for finding in found]})
    if broken:
        raise OfflineAssistantsError(f"code_interpreter is not safe here: {broken} of the walls that matter do not hold.")
    describe("code_interpreter is available, and every wall that matters holds.")


async def _check_sandbox(describe: Callable[[str], None], tell: Callable[[Finding], None], *, is_thorough: bool) -> str:
    """What code runs in. `tell` gets each finding as it is made. Raises OfflineAssistantsError where code does not run."""
    from offline_assistants.code_interpreter.attacks import ATTACKS, ISOLATION
    from offline_assistants.code_interpreter.backend import SandboxLimits
    from offline_assistants.code_interpreter.backend_choice import choose_backend
    from offline_assistants.code_interpreter.self_check import run_checks
    from offline_assistants.code_interpreter.session_sandbox import SessionSandbox

    settings = Settings()
    backend = choose_backend(
        settings.sandbox_engine,
        f"sandbox-check-{os.getpid()}",
        images=settings.sandbox_images,
        limits=SandboxLimits(memory_mb=settings.sandbox_memory_bytes // 2**20),
        runtime=settings.sandbox_runtime,
        docker_host=settings.docker_host,
    )
    async with SessionSandbox(backend) as checked:
        missing = await checked.check()
        if missing is not None:
            raise OfflineAssistantsError(missing)
        runs_in = await checked.description()
        describe(f"Code runs in {runs_in}.")
        async with aclosing(run_checks(checked, ATTACKS if is_thorough else ISOLATION, is_thorough=is_thorough)) as findings:
            async for finding in findings:
                tell(finding)
    return runs_in


def _wire(finding: Finding) -> dict[str, Any]:
    check = finding.check
    return {"name": check.name, "holds": finding.holds, "is_vital": check.is_vital, "consequence": check.consequence, "failures": list(finding.failures)}


def _line(finding: Finding) -> Text:
    if finding.holds:
        return Text.assemble(("yes  ", "green"), finding.check.name)
    return Text.assemble(("NO   ", "red"), f"{finding.check.name}. {finding.check.consequence} ({'; '.join(finding.failures)})")
