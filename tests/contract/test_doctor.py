"""Each fault that the doctor knows, made for real, is named with its cure."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from offline_assistants.catalog import Catalog
from offline_assistants.doctor import checks
from offline_assistants.doctor.checks import Patient
from offline_assistants.doctor.egress import remote_addresses
from offline_assistants.doctor.finding import Finding
from offline_assistants.model_import import Digests
from offline_assistants.settings import Settings
from tests.contract.test_catalog import gguf, write

WRONG_HASH = '[[models]]\nid = "m"\nkind = "{kind}"\nmodule = "email"\npath = "charset.py"\n[models.sha256]\n"charset.py" = "' + "0" * 64 + '"\n'


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    """A machine without packages, with one small model."""
    settings = Settings(data_dir=tmp_path / "data", port=0, min_free_disk_bytes=0)
    write(settings.models_path / "small.gguf", gguf(block_count=2, embedding_length=64))
    settings.data_dir.chmod(0o700)
    return Patient(settings, Catalog(settings.models_path, catalog_path=write(tmp_path / "catalog.toml", b"models = []\n")))


def with_settings(patient: Patient, **changes: object) -> Patient:
    return replace(patient, settings=patient.settings.model_copy(update=changes))


def with_catalog(patient: Patient, folder: Path, kind: str) -> Patient:
    path = write(folder / "wrong.toml", WRONG_HASH.format(kind=kind).encode())
    return replace(patient, catalog=Catalog(folder / "none", catalog_path=path))


def faults(findings: Iterator[Finding]) -> list[Finding]:
    found = [finding for finding in findings if finding.level != "ok"]
    assert all(finding.cure for finding in found)
    return found


def test_a_machine_without_faults_has_none(patient: Patient) -> None:
    found = [each for check in (checks.check_python, checks.check_clock, checks.check_data_directory, checks.check_port) for each in check(patient)]
    found += [each for check in (checks.check_models, checks.check_disk, checks.check_database) for each in check(patient)]

    assert [finding for finding in found if finding.level == "fail"] == []


def test_no_model(patient: Patient) -> None:
    (patient.settings.models_path / "small.gguf").unlink()

    [found] = faults(checks.check_models(patient))

    assert (found.level, "cp MODEL.gguf" in str(found.cure)) == ("fail", True)


def test_a_model_that_is_cut_off(patient: Patient) -> None:
    write(patient.settings.models_path / "cut.gguf", gguf()[:50])

    [found] = faults(checks.check_models(patient))

    assert (found.level, found.says) == ("warn", "cut.gguf: it ends in the middle of its header")
    assert "models rm cut" in str(found.cure)


def test_a_model_that_does_not_fit(patient: Patient) -> None:
    [found] = faults(checks.check_models(replace(patient, free_memory=lambda: 10_000_000)))

    assert (found.name, found.level) == ("model fit", "fail")
    assert "--context-tokens" in str(found.cure)


def test_a_default_model_that_is_not_here(patient: Patient) -> None:
    [found] = faults(checks.check_models(with_settings(patient, default_model="big")))

    assert found.says == "--default-model big is not here"


def test_a_wrong_hash(patient: Patient, tmp_path: Path) -> None:
    [found] = faults(checks.check_embedder(with_catalog(patient, tmp_path, "embedding")))

    assert (found.level, "its sha256 is" in found.says, "scripts/setup" in str(found.cure)) == ("fail", True, True)


def test_a_model_of_the_user_that_has_changed(patient: Patient) -> None:
    path = patient.settings.models_path / "small.gguf"
    Digests(patient.settings.digests_path).keep(path, "0" * 64)

    [found] = [each for each in faults(checks.check_models(Patient.of(patient.settings))) if each.name == "model hash"]

    assert (found.level, "its sha256 is" in found.says) == ("fail", True)
    assert str(found.cure).startswith("offline-assistants models rm small && offline-assistants models import PATH --name small")


def test_no_embedding_model(patient: Patient) -> None:
    [found] = faults(checks.check_embedder(patient))

    assert (found.level, "file_search is unavailable" in found.says) == ("warn", True)


def test_a_port_that_is_taken(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        [found] = faults(checks.check_port(with_settings(patient, port=port)))

    assert (found.level, f"127.0.0.1:{port}" in found.says, "--port 0" in str(found.cure)) == ("fail", True, True)


def test_a_full_disk(patient: Patient) -> None:
    [found] = faults(checks.check_disk(with_settings(patient, min_free_disk_bytes=2**60)))

    assert (found.level, "nothing new is accepted" in found.says) == ("fail", True)


def test_a_folder_that_cannot_be_written_to(patient: Patient) -> None:
    [found] = faults(checks.check_data_directory(with_settings(patient, data_dir=Path("/proc/self/data"))))

    assert (found.level, "cannot be written to" in found.says) == ("fail", True)


def test_a_data_directory_that_is_a_file(patient: Patient, tmp_path: Path) -> None:
    [found] = faults(checks.check_data_directory(with_settings(patient, data_dir=write(tmp_path / "file", b"") / "data")))

    assert "is not a folder" in found.says


def test_a_data_directory_that_others_may_read(patient: Patient) -> None:
    patient.settings.data_dir.chmod(0o755)

    [found] = faults(checks.check_data_directory(patient))

    assert (found.level, found.cure) == ("warn", f"chmod 700 {patient.settings.data_dir}")


def test_a_damaged_database(patient: Patient) -> None:
    write(patient.settings.data_dir / "database" / "objects.duckdb", os.urandom(20_000))

    [found] = faults(checks.check_database(patient))

    assert (found.level, "cannot be opened: " in found.says, ".damaged" in str(found.cure)) == ("fail", True, True)


def test_a_clock_that_is_slow(patient: Patient) -> None:
    [found] = faults(checks.check_clock(replace(patient, now=lambda: 0.0)))

    assert (found.level, "1970-01-01" in found.says) == ("fail", True)


def test_little_memory(patient: Patient) -> None:
    [found] = faults(checks.check_memory(replace(patient, free_memory=lambda: 10**9)))

    assert (found.level, found.says) == ("warn", "1.0 GB free")


def test_an_old_processor(patient: Patient, tmp_path: Path) -> None:
    [found] = faults(checks.check_processor(replace(patient, cpuinfo=write(tmp_path / "cpuinfo", b"flags : sse2\nFeatures : fp\n"))))

    assert found.level == "warn"


@pytest.mark.parametrize(("program", "said"), [("exit 1", "not installed"), ("kill -ILL $$", "another processor")])
def test_an_engine_that_does_not_run(patient: Patient, tmp_path: Path, program: str, said: str) -> None:
    python = write(tmp_path / "python", f"#!/bin/sh\n{program}\n".encode())
    python.chmod(0o700)

    [found] = faults(checks.check_engine(replace(patient, python=str(python))))

    assert (found.level, said in found.says, "scripts/setup" in str(found.cure)) == ("fail", True, True)


@pytest.mark.timeout(60)
def test_no_docker(patient: Patient) -> None:
    [found] = faults(checks.check_sandbox(with_settings(patient, docker_host="unix:///nowhere/docker.sock")))

    assert (found.level, "docker" in str(found.cure), "apt-get install bubblewrap" in str(found.cure)) == ("warn", True, True)


@pytest.mark.bubblewrap
@pytest.mark.timeout(60)
def test_bubblewrap_without_an_image(patient: Patient) -> None:
    [found] = faults(checks.check_sandbox(with_settings(patient, sandbox_engine="bubblewrap")))

    assert (found.level, "sandbox import FILE" in str(found.cure)) == ("warn", True)


@pytest.mark.docker
@pytest.mark.timeout(60)
def test_a_runtime_that_docker_does_not_know(patient: Patient) -> None:
    [found] = faults(checks.check_sandbox(with_settings(patient, sandbox_runtime="no-such-runtime")))

    assert (found.level, "no-such-runtime" in found.says, "--sandbox-runtime" in str(found.cure)) == ("warn", True, True)


@pytest.mark.bubblewrap
@pytest.mark.timeout(180)
def test_weaker_walls_are_called_weaker(patient: Patient) -> None:
    (patient.settings.data_dir / "sandbox").symlink_to(Settings().sandbox_images)

    [found] = checks.check_sandbox(with_settings(patient, sandbox_engine="bubblewrap"))

    assert (found.level, "Code runs in bubblewrap, which is weaker than Docker" in found.says) == ("ok", True)


def test_a_check_that_breaks_is_a_finding_too() -> None:
    def breaks() -> Finding:
        raise OSError("no such device")

    assert checks.guarded("egress", breaks).says == "this could not be checked: no such device"


# ── Egress ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "203.0.113.1"), (socket.AF_INET6, "2001:db8::1")])
def test_a_socket_of_a_process_that_leads_away_is_seen(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as leaving:
        try:
            leaving.connect((address, 9))
        except OSError:
            pytest.skip("no route, so no socket leads there")

        assert remote_addresses([os.getpid()]) == {address}


def test_a_socket_within_the_machine_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        assert remote_addresses([os.getpid()]) == set()


@pytest.fixture
def egress() -> Callable[[Settings], Finding]:
    import asyncio

    from offline_assistants.doctor.egress import check_egress

    return lambda settings: asyncio.run(check_egress(settings))


@pytest.mark.model
@pytest.mark.timeout(90)
def test_a_whole_server_reaches_nobody(egress: Callable[[Settings], Finding], tmp_path: Path) -> None:
    found = egress(Settings(data_dir=tmp_path))

    assert (found.level, "answered, embedded" in found.says) == ("ok", True)
