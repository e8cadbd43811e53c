"""`sandbox`: what code_interpreter runs in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.text import Text

from offline_assistants.cli.terminal import console, examples, of_server, say
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.settings import Settings

if TYPE_CHECKING:
    from offline_assistants.code_interpreter.docker_engine import DockerEngine
    from offline_assistants.code_interpreter.self_check import Finding

# Heavy parts are imported where they are used: --help and completion shall not wait for them.

_T = TypeVar("_T")
sandbox = typer.Typer(help="What code_interpreter runs in.", no_args_is_help=True)


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
def export_sandbox(file: Annotated[Path, typer.Argument(help="The archive to write; about 1 GB.")]) -> None:
    """Write the image to a file, for a machine that cannot build it."""
    from offline_assistants.code_interpreter.image import export_image

    tag = asyncio.run(_with_engine(lambda engine: export_image(file, engine=engine)))
    console.print(f"{file} holds {tag}, {file.stat().st_size / 1e6:.0f} MB.", highlight=False, soft_wrap=True)


@sandbox.command("import", epilog=examples("sandbox import sandbox.tar"))
@of_server
def import_sandbox(file: Annotated[Path, typer.Argument(help="What `sandbox export` wrote, with the same version of offline-assistants.")]) -> None:
    """Load the image from a file: into Docker, or unpacked for bubblewrap."""
    from offline_assistants.code_interpreter.image_delivery import import_where_it_is_used

    name, images = Settings().sandbox_engine, Settings().sandbox_images
    tag = asyncio.run(_with_engine(lambda engine: import_where_it_is_used(file, engine_name=name, engine=engine, images=images)))
    console.print(f"The sandbox image is ready: {tag}", highlight=False)


async def _with_engine(work: Callable[[DockerEngine], Awaitable[_T]]) -> _T:
    from offline_assistants.code_interpreter.docker_engine import DockerEngine

    engine = DockerEngine(Settings().docker_host)
    try:
        return await work(engine)
    finally:
        await engine.close()


@sandbox.command("check", epilog=examples("sandbox check", "sandbox check --full"))
@of_server
def check_sandbox(full: Annotated[bool, typer.Option("--full", help="Also attack it in every way known; takes a minute or two.")] = False) -> None:
    """Run code that tries each wall of the sandbox. Exit code 1 when code_interpreter is unavailable or a wall that matters does not hold."""
    broken = asyncio.run(_check_sandbox(is_thorough=full))
    if broken:
        raise OfflineAssistantsError(f"code_interpreter is not safe here: {broken} of the walls that matter do not hold.")
    console.print("code_interpreter is available, and every wall that matters holds.", highlight=False)


async def _check_sandbox(*, is_thorough: bool) -> int:
    """Print a line for each check; how many that matter do not hold."""
    from offline_assistants.code_interpreter.attacks import ATTACKS, ISOLATION
    from offline_assistants.code_interpreter.backend import SandboxLimits
    from offline_assistants.code_interpreter.backend_choice import choose_backend
    from offline_assistants.code_interpreter.self_check import run_checks
    from offline_assistants.code_interpreter.session_sandbox import SessionSandbox

    settings, num_broken = Settings(), 0
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
        say(f"Code runs in {await checked.description()}.")
        async with aclosing(run_checks(checked, ATTACKS if is_thorough else ISOLATION, is_thorough=is_thorough)) as findings:
            async for finding in findings:
                console.print(_line(finding), highlight=False, soft_wrap=True)
                num_broken += finding.check.is_vital and not finding.holds
    return num_broken


def _line(finding: Finding) -> Text:
    if finding.holds:
        return Text.assemble(("yes  ", "green"), finding.check.name)
    return Text.assemble(("NO   ", "red"), f"{finding.check.name}. {finding.check.consequence} ({'; '.join(finding.failures)})")
