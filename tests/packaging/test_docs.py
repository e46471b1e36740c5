"""README and docs: their links lead somewhere, what they name exists, their commands parse."""

import ast
import contextlib
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from configs import base
from ggnet_jax.evaluation import __main__ as evaluators

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
GUIDES = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which also names what has gone

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A block that we can't run is marked by a comment before it: what it needs.
MARKED_BLOCK = re.compile(
    r"^(?:<!-- (needs .*?) -->\n+)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r'(?:\]\(|src=")([^)"\s]+)')
FOLDERS = "benchmarks|configs|data_pipelines|docs|ggnet_jax|notebooks|tests"
NAMED = re.compile(rf"(?<!\[)`((?:{FOLDERS})/[^`:*\s]*|[\w.]+\.(?:py|md|cff))(?::ROW)?`")
FIELD = re.compile(r"\bconfig\.([a-z_]+(?:\.[a-z_0-9]+)*)")


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def anchors(page: Path) -> set[str]:
    """What the headings of a page can be linked by."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands_with_marks() -> list[tuple[str, list[str], str]]:
    """Every command of the guides as (page, words, what its mark says that it needs, or "")."""
    found = []
    for page in GUIDES:
        for mark, language, block in MARKED_BLOCK.findall(page.read_text()):
            if language:
                continue
            for line in block.replace("\\\n", " ").splitlines():
                found += [
                    (name(page), shlex.split(part, comments=True), mark)
                    for part in line.split(" && ")
                    if part.startswith(("python ", "ggnet ", "ggnet-eval "))
                ]
    return found


def commands() -> list[tuple[str, list[str]]]:
    """Every command of the guides as (page, words)."""
    return [(page, words) for page, words, _ in commands_with_marks()]


def test_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) < 150


def test_tree():
    """The annotated tree of the README: every folder and module that it names."""
    blocks = [block for _, block in BLOCK.findall((REPOSITORY / "README.md").read_text())]
    (tree,) = (block for block in blocks if block.startswith("main.py"))
    parent = REPOSITORY
    for line in tree.splitlines():
        indented, first = line.startswith(" "), line.split()[0]
        path = (parent if indented else REPOSITORY) / first
        assert path.exists(), line
        if first == "ggnet_jax/":
            parent = path
        for module in re.findall(r"\w+\.py", line.partition(first)[2]):
            places = (path, path.parent, REPOSITORY)
            assert any((place / module).exists() for place in places), (line, module)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links(page):
    for link in LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_names(page):
    """Files, configuration fields, and what Python code imports."""
    text = page.read_text()
    for path in NAMED.findall(text):
        assert (REPOSITORY / path).exists() or (page.parent / path).exists(), path
    config = base.get_config()
    for field in FIELD.findall(text):
        if field not in ("json", "py", "get_config"):
            assert resolves(config, field), field
    for language, block in BLOCK.findall(text):
        if language == "python":
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module:
                    module = importlib.import_module(node.module)
                    for alias in node.names:
                        if not hasattr(module, alias.name):
                            importlib.import_module(f"{node.module}.{alias.name}")


def resolves(config, field: str) -> bool:
    """Whether a configuration has the field of a dotted name."""
    for part in field.split("."):
        if part not in config:
            return False
        config = config[part]
    return True


def test_commands_of_main():
    """Flags and configuration fields; the processes parse at the same time."""
    code = (
        "import sys; from configs.base import get_config; from ggnet_jax.cli.command import parse; "
        "sys.exit(len(parse(sys.argv, base=get_config())) != 1)"
    )
    lines = [
        (page, words)
        for page, words in commands()
        if words[:2] == ["python", "main.py"] or words[0] == "ggnet"
    ]
    assert len(lines) > 10
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, *words[1 if words[0] == "ggnet" else 2 :]],
            cwd=REPOSITORY, stderr=subprocess.PIPE, text=True,
        )
        for _, words in lines
    ]  # fmt: skip
    for process, line in zip(started, lines, strict=True):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, (line, errors)


def test_commands_of_the_evaluators(tmp_path, monkeypatch, capsys):
    """They come as far as looking for the files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    count = 0
    for page, words in commands():
        if words[0] == "ggnet-eval":
            arguments = words[1:]
        elif words[:2] == ["python", "-m"] and words[2].startswith("ggnet_jax.evaluation."):
            arguments = [words[2].rpartition(".")[2], *words[3:]]
        else:
            continue
        with contextlib.suppress(SystemExit):
            assert evaluators.main(arguments) == 2, (page, words)
        errors = capsys.readouterr().err
        assert errors.startswith("error: ") and "No such file" in errors, (page, words, errors)
        count += 1
    assert count >= 4


def test_benchmarks():
    for page in GUIDES:
        for module in re.findall(r"python -m (benchmarks[\w.]*)", page.read_text()):
            path = REPOSITORY / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
