"""The seccomp profile as a program: run here, instruction by instruction, as Linux runs it."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

import pytest

from offline_assistants.code_interpreter.attacks import SYSTEM_CALLS
from offline_assistants.code_interpreter.image import sandbox_folder
from offline_assistants.code_interpreter.seccomp import seccomp_program
from offline_assistants.code_interpreter.system_calls import system_call_numbers

ALLOWED, KILLED = 0x7FFF0000, 0x80000000
REFUSED, UNKNOWN = 0x00050001, 0x00050026
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PROFILE = (sandbox_folder() / "seccomp.json").read_text()


def outcome(program: bytes, architecture: int, number: int, arguments: Sequence[int] = ()) -> int:
    """What the program returns for a call; the part of classic BPF that seccomp knows and we use."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *[*arguments, *[0] * 6][:6])
    instructions = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("=I", data, value)[0]
            case 0x54:
                accumulator &= value
            case 0x06:
                return value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x25:
                at += if_true if accumulator > value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case _:
                pytest.fail(f"instruction {code:#x}")


@pytest.mark.parametrize("machine", MACHINES)
def test_what_the_profile_allows_is_allowed_and_nothing_else(machine: str) -> None:
    program, numbers = seccomp_program(PROFILE, machine), system_call_numbers(machine)
    conditional = {"socket", "socketpair", "clone", "clone3", "personality"}
    rules = json.loads(PROFILE)["syscalls"]
    allowed = {numbers[name] for rule in rules for name in rule["names"] if name in numbers and name not in conditional}
    others = set(range(600)) - allowed - {numbers[name] for name in conditional}

    assert {outcome(program, MACHINES[machine], number) for number in allowed} == {ALLOWED}
    assert {outcome(program, MACHINES[machine], number) for number in others} == {REFUSED}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("socket", [1], ALLOWED),
        ("socket", [2], ALLOWED),
        ("socket", [10], ALLOWED),
        ("socket", [2, 1, 6], ALLOWED),
        ("socket", [10, 2, 17], ALLOWED),
        ("socket", [2, 1, 262], REFUSED),
        ("socket", [10, 2, 136], REFUSED),
        ("socketpair", [1], ALLOWED),
        ("socketpair", [2], REFUSED),
        ("socketpair", [30], REFUSED),
        ("socket", [16], REFUSED),
        ("socket", [38], REFUSED),
        ("socket", [40], REFUSED),
        ("socket", [1 << 32 | 1], REFUSED),
        ("clone", [0x01200011], ALLOWED),
        ("clone", [0x10000011], REFUSED),
        ("clone", [0x00020000], REFUSED),
        ("clone3", [], UNKNOWN),
        ("personality", [0], ALLOWED),
        ("personality", [8], ALLOWED),
        ("personality", [0xFFFFFFFF], ALLOWED),
        ("personality", [0x40000], REFUSED),
    ],
)
def test_a_call_whose_arguments_matter_is_judged_by_them(machine: str, name: str, arguments: list[int], expected: int) -> None:
    program = seccomp_program(PROFILE, machine)

    assert outcome(program, MACHINES[machine], system_call_numbers(machine)[name], arguments) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_the_calls_of_the_attacks_are_refused(machine: str) -> None:
    program, column = seccomp_program(PROFILE, machine), list(MACHINES).index(machine)

    assert {outcome(program, MACHINES[machine], call[column]) for call in SYSTEM_CALLS.values()} == {REFUSED}


def test_calls_of_another_architecture_and_of_x32_are_no_way_around() -> None:
    program = seccomp_program(PROFILE, "x86_64")
    read = system_call_numbers("x86_64")["read"]

    assert outcome(program, 0x40000003, read) == KILLED
    assert outcome(program, MACHINES["x86_64"], 0x40000000 | read) == REFUSED


@pytest.mark.parametrize(
    "change",
    [
        {"defaultAction": "SCMP_ACT_ALLOW"},
        {"flags": ["SECCOMP_FILTER_FLAG_LOG"]},
        {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG"}]},
        {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}}]},
        {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_GE"}]}]},
    ],
)
def test_a_profile_that_says_what_we_do_not_understand_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"not an allow-list|the action|a rule with|the comparison"):
        seccomp_program(json.dumps({**json.loads(PROFILE), **change}), "x86_64")


def test_a_machine_that_we_have_no_numbers_for_is_refused() -> None:
    with pytest.raises(ValueError, match="no table of system calls for riscv64"):
        seccomp_program(PROFILE, "riscv64")
