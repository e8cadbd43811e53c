"""Bringing models in over real folders: by link and by copy, one file or another program's whole folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from offline_assistants.catalog import Catalog
from offline_assistants.errors import RequestError
from offline_assistants.model_import import Digests, bring_in, find_incoming
from tests.contract.test_catalog import gguf, write


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "elsewhere" / "Qwen3-4B.gguf", gguf())


def names(folder: Path) -> list[str]:
    return [model.model_id for model in Catalog(folder, catalog_path=folder / "no.toml").list_files()]


def test_a_file_is_linked_and_nothing_is_copied(tmp_path: Path, source: Path) -> None:
    [incoming] = find_incoming(source, name="qwen")

    target = bring_in(incoming, tmp_path / "models", is_copied=False)

    assert (target.name, target.is_symlink(), target.resolve()) == ("qwen.gguf", True, source)
    assert names(tmp_path / "models") == ["qwen"]


def test_a_copy_is_whole_and_says_how_far_it_is(tmp_path: Path, source: Path) -> None:
    steps: list[int] = []

    target = bring_in(find_incoming(source)[0], tmp_path / "models", is_copied=True, advance=steps.append)

    assert (target.read_bytes(), target.is_symlink(), sum(steps)) == (source.read_bytes(), False, source.stat().st_size)


def test_the_same_file_twice_is_one(tmp_path: Path, source: Path) -> None:
    for _ in range(2):
        bring_in(find_incoming(source)[0], tmp_path / "models", is_copied=False)

    assert names(tmp_path / "models") == ["Qwen3-4B"]


def test_another_file_of_the_same_name_is_refused(tmp_path: Path, source: Path) -> None:
    write(tmp_path / "models" / "Qwen3-4B.gguf", gguf(99))

    with pytest.raises(RequestError, match="--name"):
        bring_in(find_incoming(source)[0], tmp_path / "models", is_copied=True)


@pytest.mark.parametrize("content", [b"", b"<html>", gguf()[:30]])
def test_what_is_not_whole_is_not_taken(tmp_path: Path, content: bytes) -> None:
    [incoming] = find_incoming(write(tmp_path / "bad.gguf", content))

    with pytest.raises(RequestError, match="is not taken: it"):
        bring_in(incoming, tmp_path / "models", is_copied=False)
    assert names(tmp_path / "models") == []


def test_a_model_in_parts_comes_with_all_of_them(tmp_path: Path) -> None:
    for part in (1, 2):
        write(tmp_path / "in" / f"huge-0000{part}-of-00002.gguf", gguf())

    found = find_incoming(tmp_path / "in" / "huge-00001-of-00002.gguf", name="big")

    assert [each.name for each in found] == ["big-00001-of-00002.gguf", "big-00002-of-00002.gguf"]


def test_the_folders_of_other_programs_are_understood(tmp_path: Path) -> None:
    write(tmp_path / "lmstudio" / "maker" / "model" / "a.gguf", gguf())
    write(tmp_path / "ollama" / "blobs" / "sha256-12ab", gguf())
    layers = [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:12ab"}]
    write(tmp_path / "ollama" / "manifests" / "registry" / "library" / "qwen3" / "4b", json.dumps({"layers": layers}).encode())
    write(tmp_path / "ollama" / "manifests" / "registry" / "library" / "odd" / "1", b"[]")

    for folder in ("lmstudio", "ollama"):
        for each in find_incoming(tmp_path / folder):
            bring_in(each, tmp_path / "models", is_copied=False)

    assert names(tmp_path / "models") == ["a", "qwen3-4b"]


@pytest.mark.parametrize("name", ["../x", "", ".hidden"])
def test_a_name_stays_in_the_models_folder(source: Path, name: str) -> None:
    with pytest.raises(RequestError, match="cannot be the name"):
        find_incoming(source, name=name)


def test_a_path_without_models_is_said_to_have_none(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RequestError, match=r"There (are no GGUF files|is no )"):
            find_incoming(path)


@pytest.mark.parametrize("garbled", ["", "[]", "{"])
def test_hashes_are_remembered_and_garbled_ones_forgotten(tmp_path: Path, garbled: str) -> None:
    digests = Digests(tmp_path / "digests.json")
    (tmp_path / "digests.json").write_text(garbled)
    before = digests.get(tmp_path / "x")

    digests.keep(tmp_path / "x", "12")

    assert (before, digests.get(tmp_path / "x")) == (None, "12")


def test_a_digest_is_forgotten_with_its_file(tmp_path: Path, source: Path) -> None:
    digests = Digests(tmp_path / "digests.json")
    digests.keep(source, "ab")

    digests.forget(source)
    digests.forget(source)

    assert digests.get(source) is None
