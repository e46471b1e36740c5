"""Types for argparse that refuse what a program could not use, in one line."""

import argparse
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

DTYPES = ("float32", "bfloat16")  # what networks and operators are measured in


def names(allowed: Collection[str]) -> Callable[[str], list[str]]:
    """Names of `allowed`, separated by commas; others are refused."""

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(allowed)}")
        return chosen

    return parse


def number(text: str, *, least: int = 1) -> int:
    """A whole number from `least` on."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
    return value


def numbers(text: str, *, least: int = 1) -> list[int]:
    """Whole numbers from `least` on, separated by commas."""
    return [number(one, least=least) for one in text.split(",")]


seeds = partial(numbers, least=0)


def new_file(text: str) -> Path:
    """A file to write, in a folder that is there: said before hours are spent on its content."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder, or its folder does not exist")
    return path
