"""The image as a folder: layers over each other, and nothing outside of it, whatever the archive says."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from offline_assistants.code_interpreter.unpacked_image import remove_other_images, unpack_image, unpacked_image
from offline_assistants.errors import SandboxError

TAG = "offline-assistants-sandbox:0123456789ab"
CONFIG = {"config": {"Env": ["PATH=/usr/bin", "X=a=b"], "Entrypoint": ["/usr/bin/python3"], "WorkingDir": "/mnt/data"}}
Layer = Sequence[tuple[str, str | bytes]]
"""Name and content; a str is where a link leads."""


def entry(name: str, kind: bytes = tarfile.REGTYPE, *, size: int = 0, link: str = "", mode: int = 0o755) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, size, link, mode
    return info


def layer_of(members: Layer) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            if name.endswith("/"):
                archive.addfile(entry(name.rstrip("/"), tarfile.DIRTYPE))
            elif isinstance(content, str):
                archive.addfile(entry(name, tarfile.SYMTYPE, link=content))
            else:
                archive.addfile(entry(name, size=len(content), mode=0o4755), io.BytesIO(content))
    return buffer.getvalue()


def archive_of(members: Sequence[tarfile.TarInfo]) -> bytes:
    """Members without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members:
            archive.addfile(member)
    return buffer.getvalue()


def write_archive(path: Path, layers: Sequence[bytes]) -> Path:
    files: Mapping[str, bytes] = {
        "manifest.json": json.dumps([{"Config": "config.json", "RepoTags": [TAG], "Layers": [f"{number}.tar" for number in range(len(layers))]}]).encode(),
        "config.json": json.dumps(CONFIG).encode(),
        **{f"{number}.tar": layer for number, layer in enumerate(layers)},
    }
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            archive.addfile(entry(name, size=len(content)), io.BytesIO(content))
    return path


def unpack(tmp_path: Path, *layers: Layer) -> Path:
    unpack_image(write_archive(tmp_path / "image.tar", [layer_of(each) for each in layers]), tmp_path / "images", TAG)
    image = unpacked_image(tmp_path / "images", TAG)
    assert image is not None
    return image.root


def test_what_the_image_says_of_itself_is_kept(tmp_path: Path) -> None:
    root = unpack(tmp_path, [("usr/", b""), ("usr/a", b"a")])

    image = unpacked_image(tmp_path / "images", TAG)

    assert image is not None
    assert (image.root, image.environment, image.command, image.working_folder) == (root, {"PATH": "/usr/bin", "X": "a=b"}, ("/usr/bin/python3",), "/mnt/data")
    assert (root / "usr/a").stat().st_mode & 0o7777 == 0o755


def test_a_layer_replaces_and_deletes_what_is_below(tmp_path: Path) -> None:
    below: Layer = [("a/", b""), ("a/old", b"1"), ("a/gone", b"1"), ("b/", b""), ("b/all", b"1"), ("kind/", b""), ("kind/file", b"1"), ("link", "a/old")]
    above: Layer = [("a/.wh.gone", b""), ("a/old", b"2"), ("b/.wh..wh..opq", b""), ("b/new", b"2"), ("kind", b"a file now"), ("link", b"a file now")]

    root = unpack(tmp_path, below, above)

    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*")) == ["a", "a/old", "b", "b/new", "kind", "link"]
    assert (root / "a/old").read_bytes() == b"2"
    assert (root / "link").read_bytes() == b"a file now"


@pytest.mark.parametrize(
    "layers",
    [
        [[("../outside", b"x")]],
        [[("a", "/tmp"), ("a/outside", b"x")]],
        [[("a", "../..")], [("a/outside", b"x")]],
        [[("a", "..")], [("a/.wh.kept", b"")]],
        [[("/../../outside", b"x")]],
        [[("a", "../../..")], [("a/.wh..wh..opq", b"")]],
    ],
)
def test_nothing_outside_of_the_folder_is_written_or_deleted(tmp_path: Path, layers: list[Layer]) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (tmp_path / "kept").write_text("kept")
    before = {path.name for path in tmp_path.iterdir()} | {"image.tar"}

    try:
        unpack(tmp_path, *layers)
    except SandboxError as error:
        assert "cannot be unpacked" in error.message

    assert {path.name for path in tmp_path.iterdir()} == before
    assert not Path("/tmp/outside").exists()
    assert [path for path in images.rglob("outside") if "root" not in path.parts] == []


@pytest.mark.parametrize("is_absolute", [True, False])
def test_a_hard_link_leads_to_nothing_outside(tmp_path: Path, is_absolute: bool) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")
    kept.chmod(0o600)
    layer = archive_of([entry("usr", tarfile.DIRTYPE), entry("usr/evil", tarfile.LNKTYPE, link=str(kept) if is_absolute else "../../../kept", mode=0o777)])

    with pytest.raises(SandboxError, match=r"usr/evil is a hard link to .*kept, which is no file of the image"):
        unpack_image(write_archive(tmp_path / "image.tar", [layer]), tmp_path / "images", TAG)

    assert (kept.stat().st_mode & 0o777, kept.stat().st_nlink) == (0o600, 1)


def test_a_folder_that_becomes_a_link_changes_no_rights_outside(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o700)
    members = [entry("evil", tarfile.DIRTYPE, mode=0o755), entry("evil", tarfile.SYMTYPE, link=str(kept)), entry("closed", tarfile.DIRTYPE, mode=0o555)]
    for member in members:
        member.mtime = 1

    unpack_image(write_archive(tmp_path / "image.tar", [archive_of(members)]), tmp_path / "images", TAG)

    image = unpacked_image(tmp_path / "images", TAG)
    assert image is not None
    assert (kept.stat().st_mode & 0o777, kept.stat().st_mtime > 1) == (0o700, True)
    assert (image.root / "closed").stat().st_mode & 0o777 == 0o555


def test_what_a_killed_unpacking_left_goes_with_the_next_one(tmp_path: Path) -> None:
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    left, running = (tmp_path / "images" / f".0123456789ab.{pid}.part" for pid in (gone.pid, os.getppid()))
    for folder in (left, running):
        (folder / "root").mkdir(parents=True)

    unpack(tmp_path, [("a", b"a")])

    assert (left.exists(), running.exists()) == (False, True)


def test_a_hard_link_inside_of_the_image_is_kept(tmp_path: Path) -> None:
    layers = [layer_of([("usr/", b""), ("usr/a", b"a")]), archive_of([entry("usr/b", tarfile.LNKTYPE, link="usr/a")])]

    unpack_image(write_archive(tmp_path / "image.tar", layers), tmp_path / "images", TAG)

    image = unpacked_image(tmp_path / "images", TAG)
    assert image is not None
    assert (image.root / "usr/b").read_bytes() == b"a"


def test_devices_and_pipes_are_left_out(tmp_path: Path) -> None:
    kinds = (("null", tarfile.CHRTYPE), ("disk", tarfile.BLKTYPE), ("pipe", tarfile.FIFOTYPE), ("folder", tarfile.DIRTYPE))
    layer = archive_of([entry(name, kind) for name, kind in kinds])

    unpack_image(write_archive(tmp_path / "image.tar", [layer]), tmp_path / "images", TAG)

    image = unpacked_image(tmp_path / "images", TAG)
    assert image is not None
    assert [path.name for path in image.root.iterdir()] == ["folder"]


@pytest.mark.parametrize("content", [b"", b"no archive", bytes(10240)])
def test_an_archive_that_is_none_is_refused_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image.tar").write_bytes(content)

    with pytest.raises(SandboxError, match="cannot be unpacked"):
        unpack_image(tmp_path / "image.tar", tmp_path / "images", TAG)

    assert list((tmp_path / "images").iterdir()) == []


def test_an_image_of_another_version_stays_until_it_is_asked_to_go(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "image.tar", [layer_of([("a", b"1")])])
    unpack_image(archive, tmp_path / "images", "offline-assistants-sandbox:older")

    unpack_image(archive, tmp_path / "images", TAG)

    assert unpacked_image(tmp_path / "images", "offline-assistants-sandbox:older") is not None
    assert remove_other_images(tmp_path / "images", TAG) == ["older"]
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["0123456789ab"]
