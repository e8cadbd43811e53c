"""How the sandbox image travels: written to a file, taken from one, and nothing else taken for it."""

from __future__ import annotations

import io
import json
import os
import tarfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from offline_assistants.code_interpreter.docker_engine import DockerEngine
from offline_assistants.code_interpreter.image import build_image, export_image, image_tag, import_image, older_images, sandbox_folder
from offline_assistants.errors import SandboxError, SandboxUnavailable


@pytest.fixture
async def engine() -> AsyncIterator[DockerEngine]:
    docker_engine = DockerEngine()
    yield docker_engine
    await docker_engine.close()


@pytest.fixture
async def no_engine() -> AsyncIterator[DockerEngine]:
    absent = DockerEngine("unix:///nowhere/docker.sock")
    yield absent
    await absent.close()


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def write_archive(path: Path, manifest: object) -> Path:
    content = json.dumps(manifest).encode()
    member = tarfile.TarInfo("manifest.json")
    member.size = len(content)
    with tarfile.open(path, "w") as archive:
        archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("content", [b"", b"no archive", bytes(10240)])
async def test_a_file_that_is_no_image_is_refused(tmp_path: Path, no_engine: DockerEngine, content: bytes) -> None:
    file = tmp_path / "image.tar"
    file.write_bytes(content)

    with pytest.raises(SandboxError, match=r"is not an image. Write one with `offline-assistants sandbox export FILE`"):
        await import_image(file, engine=no_engine)


async def test_a_file_that_is_not_there_is_named(tmp_path: Path, no_engine: DockerEngine) -> None:
    with pytest.raises(SandboxError, match=r"image.tar could not be read: No such file"):
        await import_image(tmp_path / "image.tar", engine=no_engine)


@pytest.mark.parametrize("manifest", [[{"RepoTags": ["debian:bookworm-slim"]}], [{"RepoTags": None}], [], {}, [{}, {}], None])
async def test_an_image_of_another_name_is_refused(tmp_path: Path, no_engine: DockerEngine, manifest: object) -> None:
    file = write_archive(tmp_path / "image.tar", manifest)

    with pytest.raises(SandboxError, match=r"but this version needs offline-assistants-sandbox:"):
        await import_image(file, engine=no_engine)


async def test_an_image_that_brings_another_along_is_refused(tmp_path: Path, no_engine: DockerEngine) -> None:
    tag = image_tag(sandbox_folder())
    file = write_archive(tmp_path / "image.tar", [{"RepoTags": [tag, "debian:bookworm-slim"]}])

    with pytest.raises(SandboxError, match=r"holds offline-assistants-sandbox:.*, debian:bookworm-slim, but"):
        await import_image(file, engine=no_engine)


async def test_without_an_engine_nothing_is_written(tmp_path: Path, no_engine: DockerEngine) -> None:
    with pytest.raises(SandboxUnavailable, match=r"Start Docker"):
        await export_image(tmp_path / "image.tar", engine=no_engine)

    assert names_in(tmp_path) == []


async def test_without_an_engine_the_build_says_where_else_an_image_comes_from(no_engine: DockerEngine) -> None:
    with pytest.raises(SandboxUnavailable, match=r"Start Docker.*sandbox import FILE.*bubblewrap"):
        await build_image(lambda line: None, engine=no_engine)


@pytest.mark.parametrize("address", ["ssh://someone@203.0.113.80", "https://203.0.113.80:2376"])
async def test_an_engine_behind_tls_or_ssh_is_refused_with_the_way_around(address: str) -> None:
    engine = DockerEngine(address)

    with pytest.raises(SandboxUnavailable, match=r"behind TLS or SSH. Let SSH carry the socket"):
        await engine.ping()

    await engine.close()


@pytest.mark.docker
async def test_a_folder_that_is_not_there_is_named(tmp_path: Path, engine: DockerEngine) -> None:
    with pytest.raises(SandboxError, match=r"image.tar could not be written: No such file"):
        await export_image(tmp_path / "missing" / "image.tar", engine=engine)


@pytest.mark.docker
async def test_a_full_disk_is_named(tmp_path: Path, engine: DockerEngine) -> None:
    repository = f"test-{uuid.uuid4().hex}"
    await engine.import_image(write_archive(tmp_path / "root.tar", None), repository, "tiny")
    with (
        os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0) as full,
        pytest.raises(SandboxError, match=r"The image could not be written: No space left on device"),
    ):
        await engine.save_image(f"{repository}:tiny", full)
    await engine.remove_image(f"{repository}:tiny")


@pytest.mark.docker
async def test_images_of_other_versions_are_named_and_the_one_in_use_is_not(engine: DockerEngine) -> None:
    older = await older_images(engine=engine)

    assert image_tag(sandbox_folder()) not in older
    assert all(tag.startswith("offline-assistants-sandbox:") for tag in older)


@pytest.mark.docker
async def test_an_image_is_removed_by_its_tag_alone(tmp_path: Path, engine: DockerEngine) -> None:
    repository = f"test-{uuid.uuid4().hex}"
    await engine.import_image(write_archive(tmp_path / "root.tar", None), repository, "tiny")

    await engine.remove_image(f"{repository}:tiny")

    assert await engine.image_tags(repository) == []


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_image_travels(tmp_path: Path, engine: DockerEngine) -> None:
    exported = await export_image(tmp_path / "image.tar", engine=engine)

    assert await import_image(tmp_path / "image.tar", engine=engine) == exported
    assert names_in(tmp_path) == ["image.tar"]
