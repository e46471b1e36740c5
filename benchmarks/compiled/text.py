"""Reads what a compiled program says of itself: XLA's text (HLO) and NVIDIA's assembler (PTX)."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_COMPUTATION = re.compile(r"(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?[\w.\-]+ = (?P<shape>\(.*?\)|\S+) (?P<opcode>[\w\-]+)\(")
# What is no work of its own.
_FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "while",
    "call",
    "conditional",
}
_EXCHANGES = {"all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter"}


class Instruction(NamedTuple):
    """One line of the program.

    Attributes:
      opcode: such as 'fusion'.
      line: all of it.
      times: how often it runs, loops counted.
    """

    opcode: str
    line: str
    times: int


def instructions(text: str) -> list[Instruction]:
    """What the program runs: its entry and what it calls and repeats, not the inside of fusions.

    Of branches the one with most lines is taken.

    Raises:
      ValueError: nothing in the program says how often one of its loops runs.
    """
    computations: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            name = found["name"]
            computations[name] = []
            entry = name if found["entry"] else entry
        elif name and line.startswith(" "):
            computations[name].append(line)
    return list(_walk(computations, entry, 1))


def _walk(computations: Mapping[str, list[str]], name: str, times: int) -> Iterator[Instruction]:
    for line in computations[name]:
        found = _INSTRUCTION.match(line)
        if not found:
            continue
        yield Instruction(found["opcode"], line, times)
        if found["opcode"] == "while":
            body, condition = (
                re.search(rf"{part}=%?([\w.\-]+)", line)[1] for part in ("body", "condition")
            )
            yield from _walk(computations, body, times * _trips(line, computations[condition]))
        elif found["opcode"] == "call":
            called = re.search(r"to_apply=%?([\w.\-]+)", line)[1]
            yield from _walk(computations, called, times)
        elif found["opcode"] == "conditional":
            branches = (list(_walk(computations, name, times)) for name in _branches(line))
            yield from max(branches, key=len)


def _branches(line: str) -> list[str]:
    """The computations that a condition chooses among."""
    if listed := re.search(r"branch_computations=\{(.*?)\}", line):
        return re.findall(r"[\w.\-]+", listed[1])
    return re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", line)


def _trips(line: str, condition: list[str]) -> int:
    """How often a loop runs: as the compiler notes, or what its condition compares with."""
    if found := re.search(r'known_trip_count":\{"n":"(\d+)"', line):
        return int(found[1])
    constants = re.findall(r"constant\((\d+)\)", "\n".join(condition))
    if len(constants) != 1:
        raise ValueError(f"nothing says how often this loop runs: {line.strip()[:100]}")
    return int(constants[0])


def kernels(program: list[Instruction]) -> int:
    """Calls of something on the device, the loops' included; the end of a call is none itself."""
    return sum(
        one.times
        for one in program
        if one.opcode not in _FREE and not one.opcode.endswith(("-done", "-update"))
    )


def cycles(program: list[Instruction]) -> int:
    """XLA's estimate for a TPU, loops counted; it has none for gathers and scatters of cells."""
    found = ((re.search(r'"estimated_cycles":"(\d+)"', one.line), one.times) for one in program)
    return sum(int(match[1]) * times for match, times in found if match)


def exchanged(program: list[Instruction]) -> dict[str, int]:
    """What a program receives from other devices: {operation: numbers, all together}."""
    numbers: dict[str, int] = {}
    for one in program:
        kind = one.opcode.removesuffix("-done")
        if kind in _EXCHANGES:
            for shape in re.findall(r"\w+\[([\d,]*)\]", _INSTRUCTION.match(one.line)["shape"]):
                size = math.prod(int(side) for side in shape.split(",") if side)
                numbers[kind] = numbers.get(kind, 0) + size * one.times
    return numbers


def additions(assembler: str) -> dict[str, int]:
    """How a GPU adds to memory: 'native' additions of float32, 'swaps' that repeat until it holds.

    Maxima of float32 are swaps on every GPU.
    """
    atomics = re.findall(r"\b(?:atom|red)\.[\w.]*global[\w.]*", assembler)
    return {
        "native": sum(".add" in name and ".f32" in name for name in atomics),
        "swaps": sum(".cas" in name for name in atomics),
    }
