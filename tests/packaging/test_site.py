"""The documentation builds as a site: every link, anchor and object of the API is there."""

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_docs import commands_with_marks

pytest.importorskip("mkdocs", reason='the site is an optional install: pip install -e ".[docs]"')
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what the site is built from, as the build may leave files beside it."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("docs", "benchmarks", "ggnet_jax", "data_pipelines"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    for name in ("mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


def build(source: Path) -> Path:
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(source / "site")],
        cwd=source, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-4000:]
    return source / "site"


def test_it_is_complete(source):
    site = build(source)
    pages = {page.relative_to(site).as_posix(): page.read_text() for page in site.rglob("*.html")}
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert page.stem == "README" or f"{page.stem}.html" in pages
    assert "benchmarks/results/cpu.html" in pages
    assert 'id="ggnet_jax.models.gaze.GazeStep"' in pages["api.html"]
    assert "api.html#ggnet_jax.training.losses.hna_loss" in pages["paper.html"]
    # Nothing is fetched from elsewhere, and where there is no repository there are no links to it.
    for name, text in pages.items():
        fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', text)
        assert not [one for one in fetched if "creativecommons" not in one], name
        assert "blob/main" not in text, name
    marked = {mark for _, _, mark in commands_with_marks() if mark}
    everything = html.unescape(" ".join(pages.values())).replace("’", "'")
    for mark in marked:
        assert f"{mark[0].upper()}{mark[1:]}:" in everything, mark


def test_one_variable_makes_the_badge(source):
    settings = source / "mkdocs.yml"
    text = settings.read_text()
    settings.write_text(text.replace('repository: ""', "repository: someone/ggnet_jax"))
    site = build(source)
    settings.write_text(text)
    start = (site / "index.html").read_text()
    assert "/github/someone/ggnet_jax/blob/main/notebooks/ggnet_demo.ipynb" in start
    assert (REPOSITORY / "notebooks" / "ggnet_demo.ipynb").is_file()
