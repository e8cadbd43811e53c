"""The catalog over real folders: which files are models, which are refused, what is remembered."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from offline_assistants.catalog import Catalog
from offline_assistants.errors import ModelNotLoaded, RequestError
from tests.tiny_projector import write_projector


def gguf(context_tokens: int = 2048, kind: str = "model", **more: int) -> bytes:
    """A whole GGUF file without tensors; `more`: further numbers of its architecture."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    tags = text("general.tags") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    values = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("general.type") + struct.pack("<I", 8) + text(kind),
        tags,
        text("llama.context_length") + struct.pack("<II", 4, context_tokens),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
    ]
    values += [text(f"llama.{name}") + struct.pack("<II", 4, value) for name, value in more.items()]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(values)) + b"".join(values)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def no_packages(tmp_path: Path) -> Path:
    return write(tmp_path / "catalog.toml", b"models = []\n")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def ids(catalog: Catalog) -> list[str]:
    return [model.model_id for model in catalog.list_files()]


def test_a_folder_that_does_not_exist_holds_no_models(models: Path, no_packages: Path):
    assert ids(Catalog(models, catalog_path=no_packages)) == []


def test_models_are_found_in_subfolders_and_named_after_their_files(models: Path, no_packages: Path):
    write(models / "Big Model.Q4_K_M.gguf", gguf(4096))
    write(models / "sub" / "small.gguf", gguf())
    write(models / "notes.txt", b"")

    files = Catalog(models, catalog_path=no_packages).list_files()

    assert [(model.model_id, model.context_tokens, model.architecture) for model in files] == [
        ("Big Model.Q4_K_M", 4096, "llama"),
        ("small", 2048, "llama"),
    ]


def test_a_model_in_parts_is_one_model(models: Path, no_packages: Path):
    for part in (1, 2, 3):
        write(models / f"huge-0000{part}-of-00003.gguf", gguf())

    (model,) = Catalog(models, catalog_path=no_packages).list_files()

    assert (model.model_id, model.path.name, model.size_bytes) == ("huge", "huge-00001-of-00003.gguf", 3 * len(gguf()))


def test_adapters_and_projectors_are_no_models(models: Path, no_packages: Path):
    write(models / "adapter.gguf", gguf(kind="adapter"))
    write(models / "mmproj.gguf", gguf(kind="mmproj"))

    assert ids(Catalog(models, catalog_path=no_packages)) == []


@pytest.mark.parametrize(
    "content", [b"", b"GG", b"hello world", gguf()[:40], b"GGUF" + struct.pack("<I", 77), b"GGUF" + struct.pack("<IQQQ", 3, 0, 9, 1 << 60)]
)
def test_a_damaged_file_is_listed_and_refused(models: Path, no_packages: Path, content: bytes):
    write(models / "bad.gguf", content)
    catalog = Catalog(models, catalog_path=no_packages)

    (model,) = catalog.list_files()

    with pytest.raises(ModelNotLoaded, match=r"bad\.gguf cannot be used: it"):
        catalog.verify(model)


@pytest.mark.parametrize("length", [7, 60, -1])
def test_a_model_that_was_cut_off_is_listed_with_what_is_wrong(tmp_path: Path, models: Path, no_packages: Path, length: int):
    # A projector's file under another name: it has weights.
    whole = write_projector(tmp_path / "mmproj.gguf").read_bytes().replace(b"clip", b"blip").replace(b"general.type", b"general.kind")
    write(models / "whole.gguf", whole)
    write(models / "cut.gguf", whole[:length])

    found = {model.model_id: model.problem for model in Catalog(models, catalog_path=no_packages).list_files()}

    assert found["whole"] is None
    assert str(found["cut"]).startswith("it ends in the middle of its ")


def test_a_model_that_lacks_a_part_says_which(models: Path, no_packages: Path):
    for part in (2, 3):
        write(models / f"huge-0000{part}-of-00004.gguf", gguf())

    (model,) = Catalog(models, catalog_path=no_packages).list_files()

    assert (model.model_id, model.problem) == ("huge", "part 1 of 4 is missing")


def test_an_embedding_model_answers_no_chats_and_says_so(models: Path, no_packages: Path):
    write(models / "embedder.gguf", gguf(pooling_type=2))
    catalog = Catalog(models, catalog_path=no_packages)

    with pytest.raises(ModelNotLoaded, match=r"it is an embedding model, which gives vectors and no text\.$"):
        catalog.verify(catalog.list_files()[0])


def test_a_link_whose_file_is_gone_is_listed_with_what_is_wrong(models: Path, no_packages: Path):
    models.mkdir()
    (models / "away.gguf").symlink_to("/nowhere.gguf")

    (model,) = Catalog(models, catalog_path=no_packages).list_files()

    assert model.problem == "the file that it leads to is gone"


def test_the_header_tells_how_much_memory_a_context_takes(models: Path, no_packages: Path):
    numbers = {"block_count": 30, "embedding_length": 576, "attention.head_count": 9, "attention.head_count_kv": 3}
    write(models / "m.gguf", gguf(**numbers))

    (model,) = Catalog(models, catalog_path=no_packages).list_files()

    assert model.shape is not None
    assert (model.shape.kv_values_per_token, model.shape.num_vocab) == (30 * 3 * (64 + 64), 2)


def test_the_same_name_twice_is_one_model_and_the_first_folder_wins(tmp_path: Path, models: Path, no_packages: Path):
    first = write(models / "same.gguf", gguf())
    write(tmp_path / "more" / "same.gguf", gguf())

    (model,) = Catalog(models, tmp_path / "more", catalog_path=no_packages).list_files()

    assert model.path == first


class TestRemoving:
    def test_a_model_goes_with_all_its_parts_and_nothing_else(self, models: Path, no_packages: Path):
        for name in ("huge-00001-of-00002", "huge-00002-of-00002", "huge-other"):
            write(models / "sub" / f"{name}.gguf", gguf())
        catalog = Catalog(models, catalog_path=no_packages)

        catalog.remove(next(model for model in catalog.list_files() if model.model_id == "huge"))

        assert ids(catalog) == ["huge-other"]

    def test_of_a_link_only_the_link_goes(self, tmp_path: Path, models: Path, no_packages: Path):
        target = write(tmp_path / "elsewhere.gguf", gguf())
        models.mkdir(parents=True, exist_ok=True)
        (models / "linked.gguf").symlink_to(target)
        catalog = Catalog(models, catalog_path=no_packages)

        catalog.remove(catalog.list_files()[0])

        assert target.is_file()
        assert ids(catalog) == []

    def test_nothing_is_deleted_through_a_linked_folder(self, tmp_path: Path, models: Path, no_packages: Path):
        target = write(tmp_path / "elsewhere" / "mine.gguf", gguf())
        models.mkdir(parents=True, exist_ok=True)
        (models / "folder").symlink_to(target.parent)
        catalog = Catalog(models, catalog_path=no_packages)
        (model,) = Catalog(target.parent, catalog_path=no_packages).list_files()

        with pytest.raises(RequestError, match="out of the models folder"):
            catalog.remove(replace(model, path=models / "folder" / "mine.gguf"))
        assert target.is_file()

    def test_a_packaged_model_stays(self, models: Path, no_packages: Path):
        path = write(models / "m.gguf", gguf())
        catalog = Catalog(models, catalog_path=no_packages)

        with pytest.raises(RequestError, match="Uninstall that package"):
            catalog.remove(replace(catalog.list_files()[0], sha256="0" * 64))
        assert path.is_file()

    def test_a_file_that_was_replaced_is_read_again(self, models: Path, no_packages: Path):
        path = write(models / "m.gguf", b"nothing")
        catalog = Catalog(models, catalog_path=no_packages)
        damaged = catalog.list_files()[0].problem

        path.write_bytes(gguf())

        assert (damaged is None, catalog.list_files()[0].problem) == (False, None)


class TestVouchedFor:
    def test_a_file_is_checked_before_it_is_loaded_against_what_the_user_said_of_it(self, models: Path, no_packages: Path):
        path = write(models / "m.gguf", gguf())
        digests = {path: hashlib.sha256(path.read_bytes()).hexdigest()}
        catalog = Catalog(models, catalog_path=no_packages, digest_of=digests.get)

        catalog.verify(catalog.list_files()[0])
        path.write_bytes(gguf() + b" ")

        with pytest.raises(ModelNotLoaded, match=r"its sha256 is .* models verify m --sha256"):
            catalog.verify(catalog.list_files()[0])

    def test_a_file_that_nobody_vouched_for_is_not_hashed(self, models: Path, no_packages: Path, tmp_path: Path):
        write(models / "m.gguf", gguf())
        catalog = Catalog(models, catalog_path=no_packages, verified_path=tmp_path / "verified.json")

        catalog.verify(catalog.list_files()[0])

        assert not (tmp_path / "verified.json").exists()


class TestPackaged:
    """`email` stands for a package with a model in it: it is installed everywhere, and holds a file whose hash can be told."""

    FILE = "charset.py"

    def catalog(self, tmp_path: Path, *, sha256: str, verified: Path | None = None, kind: str = "embedding") -> Catalog:
        entry = f'[[models]]\nid = "m"\nkind = "{kind}"\nmodule = "email"\npath = "."\n[models.sha256]\n"{self.FILE}" = "{sha256}"\n'
        return Catalog(tmp_path, verified_path=verified, catalog_path=write(tmp_path / "catalog.toml", entry.encode()))

    @pytest.fixture
    def sha256(self) -> str:
        import email

        return hashlib.sha256((Path(email.__path__[0]) / self.FILE).read_bytes()).hexdigest()

    def test_the_embedder_is_where_its_package_is(self, tmp_path: Path, sha256: str):
        path = self.catalog(tmp_path, sha256=sha256).embedder_path()

        assert path is not None
        assert (path / self.FILE).is_file()

    def test_a_file_that_differs_is_not_given_out(self, tmp_path: Path):
        with pytest.raises(ModelNotLoaded, match="sha256"):
            self.catalog(tmp_path, sha256="0" * 64).embedder_path()

    def test_what_differs_is_told_by_its_name(self, tmp_path: Path, sha256: str):
        assert self.catalog(tmp_path, sha256=sha256).verify_packaged() == {"m": None}
        assert self.catalog(tmp_path, sha256="0" * 64).verify_packaged() == {"m": f"{self.FILE} changed: it was {'0' * 64}"}

    def test_what_was_verified_is_remembered(self, tmp_path: Path, sha256: str):
        verified = tmp_path / "verified.json"
        self.catalog(tmp_path, sha256=sha256, verified=verified).embedder_path()
        verified.write_text(verified.read_text().replace(sha256, "f" * 64))

        with pytest.raises(ModelNotLoaded, match="f" * 64):
            self.catalog(tmp_path, sha256=sha256, verified=verified).embedder_path()

    @pytest.mark.parametrize("content", ["", "[]", '{"x": 1}', "{"])
    def test_a_memory_that_is_garbled_is_not_believed(self, tmp_path: Path, sha256: str, content: str):
        verified = tmp_path / "verified.json"
        verified.write_text(content)

        assert self.catalog(tmp_path, sha256=sha256, verified=verified).embedder_path() is not None

    def test_a_package_that_is_not_installed_brings_no_model(self, tmp_path: Path):
        entry = b'[[models]]\nid = "m"\nkind = "embedding"\nmodule = "no_such_package_at_all"\npath = "x"\n[models.sha256]\n'

        assert Catalog(tmp_path, catalog_path=write(tmp_path / "catalog.toml", entry)).embedder_path() is None


def test_the_catalog_of_the_project_names_a_chat_model_and_an_embedder():
    import tomllib

    entries = tomllib.loads((Path(__file__).parents[2] / "models" / "catalog.toml").read_text())["models"]

    assert {entry["kind"] for entry in entries} == {"chat", "embedding"}
    assert all(entry["licence"] and all(len(sha256) == 64 for sha256 in entry["sha256"].values()) for entry in entries)


# ── Projectors ───────────────────────────────────────────────────────────────────────────────────────────────────────


def projectors(folder: Path, no_packages: Path) -> dict[str, str | None]:
    models = Catalog(folder, catalog_path=no_packages).list_files()
    return {model.model_id: model.projector.path.name if model.projector else None for model in models}


def test_a_projector_belongs_to_the_models_whose_names_begin_with_its_own(tmp_path: Path, no_packages: Path) -> None:
    for name in ("Qwen2.5-VL-3B-Q4_K_M", "Qwen2.5-VL-3B-Q8_0", "Qwen2.5-VL-32B-Q4_K_M", "other"):
        write(tmp_path / f"{name}.gguf", gguf())
    for name in ("mmproj-Qwen2.5-VL-3B-F16", "Qwen2.5-VL-mmproj-bf16"):
        write_projector(tmp_path / f"{name}.gguf")

    assert projectors(tmp_path, no_packages) == {
        "Qwen2.5-VL-32B-Q4_K_M": "Qwen2.5-VL-mmproj-bf16.gguf",
        "Qwen2.5-VL-3B-Q4_K_M": "mmproj-Qwen2.5-VL-3B-F16.gguf",
        "Qwen2.5-VL-3B-Q8_0": "mmproj-Qwen2.5-VL-3B-F16.gguf",
        "other": None,
    }


def test_a_projector_without_a_name_belongs_to_a_model_alone_in_its_folder(tmp_path: Path, no_packages: Path) -> None:
    for path in ("alone/one.gguf", "two/two.gguf", "two/three.gguf"):
        write(tmp_path / path, gguf())
    for path in ("alone/mmproj-F16.gguf", "two/mmproj-model-f16.gguf"):
        write_projector(tmp_path / path)

    assert projectors(tmp_path, no_packages) == {"one": "mmproj-F16.gguf", "two": None, "three": None}


@pytest.mark.parametrize("length", [3, 40, 2000, -1])
def test_a_projector_that_was_cut_off_is_no_model_and_says_what_is_wrong(tmp_path: Path, no_packages: Path, length: int) -> None:
    write(tmp_path / "one.gguf", gguf())
    path = write_projector(tmp_path / "one-mmproj.gguf")
    path.write_bytes(path.read_bytes()[:length])

    [model] = Catalog(tmp_path, catalog_path=no_packages).list_files()

    assert model.projector is not None
    assert model.projector.problem in {"it is not a GGUF file", "it ends in the middle of its header", "it ends in the middle of its weights"}
