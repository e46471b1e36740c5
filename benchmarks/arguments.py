"""Command-line arguments that are lists, `--devices=A,B`."""

import argparse
from collections.abc import Callable, Collection


def names(allowed: Collection[str]) -> Callable[[str], list[str]]:
    """A `type` for argparse: names of `allowed`, separated by commas; others are refused."""

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(allowed)}")
        return chosen

    return parse


def numbers(text: str) -> list[int]:
    """A `type` for argparse: whole numbers, separated by commas."""
    return [int(number) for number in text.split(",")]
