"""requirements.txt and the extras of pyproject.toml say the same."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def with_extras(lines: list[str]) -> set[Requirement]:
    """The requirements in `lines`, the project's own extras replaced by what they hold."""
    found = set()
    for requirement in map(Requirement, lines):
        if requirement.name == PROJECT["name"]:
            for extra in requirement.extras:
                found |= with_extras(PROJECT["optional-dependencies"][extra])
        else:
            found.add(requirement)
    return found


def test_requirements_are_those_of_the_extras():
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    listed = [line.partition("#")[0].strip() for line in lines]
    project = with_extras([*PROJECT["dependencies"], f"{PROJECT['name']}[test]"])
    assert with_extras([line for line in listed if line]) == project


def test_the_wheel_asks_for_little():
    """The evaluators need no more; nothing needs PyTorch."""
    assert {one.name for one in with_extras(PROJECT["dependencies"])} == {"numpy", "pillow"}
    detect = {one.name for one in with_extras(PROJECT["optional-dependencies"]["detect"])}
    assert not detect & {"tensorflow", "tensorflow-cpu", "ml-collections", "pytest", "torch"}
