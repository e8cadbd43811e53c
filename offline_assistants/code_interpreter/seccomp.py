"""From the seccomp profile, as container engines read it, to the program that Linux runs at each system call. Pure.

bubblewrap reads no profiles. The program is classic BPF (Linux: Documentation/userspace-api/seccomp_filter.rst): it looks at the architecture, the number and
the arguments of a call, and the first action that fits ends it. Only what our own profile uses is understood; anything else is an error, never left out.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from offline_assistants.code_interpreter.system_calls import system_call_numbers

_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_GREATER_EQUAL, _AND, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x54, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
"""Offsets in `struct seccomp_data`; an argument takes 8 bytes, the low half first on both machines."""
_KILL_PROCESS, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_EPERM = 1
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_*: a call that came in by another door, as 32-bit code's, has other numbers."""
_INSTRUCTION = struct.Struct("=HBBI")
_MAX_INSTRUCTIONS = 4096


@dataclass(frozen=True, slots=True)
class _Instruction:
    code: int
    value: int
    if_true: int = 0
    if_false: int = 0


@dataclass(frozen=True, slots=True)
class _Condition:
    """An argument, of which the bits of `mask` must be `value`."""

    index: int
    mask: int
    value: int


def seccomp_program(profile: str, machine: str) -> bytes:
    """The instructions, 8 bytes each, as `struct sock_filter` in this machine's byte order.

    `machine` is what `uname -m` says. Raises ValueError for a profile that says what this does not understand, and for another kind of machine.
    """
    try:
        numbers = system_call_numbers(machine)
    except KeyError:
        raise ValueError(f"there is no table of system calls for {machine}") from None
    document = cast("dict[str, Any]", json.loads(profile))
    if set(document) != {"defaultAction", "archMap", "syscalls"} or document["defaultAction"] != "SCMP_ACT_ERRNO":
        raise ValueError("not an allow-list")
    allowed, special = set[int](), list[_Instruction]()
    for rule in cast("list[dict[str, Any]]", document["syscalls"]):
        action, conditions = _action(rule), [_condition(each) for each in rule.get("args", ())]
        for number in (numbers[name] for name in rule["names"] if name in numbers):
            if action == _ALLOW and not conditions:
                allowed.add(number)
            else:
                special += _rule(number, conditions, action)
    program = [*_entry(machine), *special, *_ranges(sorted(allowed)), _Instruction(_RETURN, _ERRNO | _EPERM)]
    if len(program) > _MAX_INSTRUCTIONS:
        raise ValueError("more instructions than the kernel takes")
    return b"".join(_INSTRUCTION.pack(each.code, each.if_true, each.if_false, each.value) for each in program)


def _action(rule: dict[str, Any]) -> int:
    if not set(rule) <= {"comment", "names", "action", "args", "errnoRet"}:
        raise ValueError(f"a rule with {', '.join(sorted(rule))}")
    match rule["action"]:
        case "SCMP_ACT_ALLOW":
            return _ALLOW
        case "SCMP_ACT_ERRNO":
            return _ERRNO | int(rule.get("errnoRet", _EPERM))
        case action:
            raise ValueError(f"the action {action}")


def _condition(argument: dict[str, Any]) -> _Condition:
    match argument["op"]:
        case "SCMP_CMP_EQ":
            return _Condition(argument["index"], 2**64 - 1, argument["value"])
        case "SCMP_CMP_MASKED_EQ":
            return _Condition(argument["index"], argument["value"], argument["valueTwo"])
        case comparison:
            raise ValueError(f"the comparison {comparison}")


def _entry(machine: str) -> Iterator[_Instruction]:
    yield _Instruction(_LOAD, _ARCHITECTURE_AT)
    yield _Instruction(_JUMP_EQUAL, _ARCHITECTURES[machine], if_true=1)
    yield _Instruction(_RETURN, _KILL_PROCESS)
    yield _Instruction(_LOAD, _NUMBER_AT)


def _rule(number: int, conditions: Sequence[_Condition], action: int) -> list[_Instruction]:
    """For one call: jumps over itself unless number and arguments fit. Leaves the number loaded."""
    checks: list[_Instruction] = []
    halves = [(each, half) for each in conditions for half in (0, 1)]
    num_after = 4 * len(halves)
    for condition, half in halves:
        # load, mask, compare: on to the next half, or out to where the number is loaded again
        shift, num_after = 32 * half, num_after - 4
        checks += [
            _Instruction(_LOAD, _ARGUMENTS_AT + 8 * condition.index + 4 * half),
            _Instruction(_AND, condition.mask >> shift & 0xFFFFFFFF),
            _Instruction(_JUMP_EQUAL, condition.value >> shift & 0xFFFFFFFF, if_true=1),
            _Instruction(_JUMP_EQUAL, 0, if_true=num_after + 1, if_false=num_after + 1),
        ]
    body = [*checks, _Instruction(_RETURN, action), _Instruction(_LOAD, _NUMBER_AT)]
    return [_Instruction(_JUMP_EQUAL, number, if_false=len(body)), *body]


def _ranges(numbers: Sequence[int]) -> Iterator[_Instruction]:
    """Allow these: a look at the ends of each stretch without a gap."""
    first = previous = None
    for number in [*numbers, None]:
        if first is None:
            first = number
        elif previous is not None and number != previous + 1:
            yield _Instruction(_JUMP_GREATER_EQUAL, first, if_false=2)
            yield _Instruction(_JUMP_GREATER, previous, if_true=1)
            yield _Instruction(_RETURN, _ALLOW)
            first = number
        previous = number
