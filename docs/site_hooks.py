"""What the site has beside the pages of docs/, for MkDocs: results, links, marks, the badge.

In the repository the pages link to files beside docs/ as `../benchmarks/...`. A site has no files
beside it: results come along as pages of their own, other files are links into the repository.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

_REPOSITORY = Path(__file__).resolve().parents[1]
_BROUGHT = ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/results/*.md")
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")
_OBJECT = re.compile(r"`((?:ggnet_jax|data_pipelines)(?:\.\w+)+)`")
_NEEDS = re.compile(r"^<!-- (needs .*?) -->$", re.MULTILINE)
_BADGE = "<!-- colab badge -->"
_NOTEBOOK = "notebooks/ggnet_demo.ipynb"


def on_files(files: Files, config: Any) -> Files:
    """Bring along the pages that lie elsewhere in the repository."""
    for pattern in _BROUGHT:
        for path in sorted(_REPOSITORY.glob(pattern)):
            uri = path.relative_to(_REPOSITORY).as_posix()
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn the repository's links into the site's, and marks in comments into text."""
    repository = config.extra.get("repository", "")
    uri = page.file.src_uri
    origin = PurePosixPath(uri if uri.startswith(_brought_folders()) else f"docs/{uri}").parent

    def link(found: re.Match[str]) -> str:
        text, path, anchor = found["text"], found["path"], found["anchor"] or ""
        target = _resolve(origin / path)
        inside = target.removeprefix("docs/")
        if files.get_file_from_path(inside) is not None:
            up = "../" * uri.count("/")
            return f"[{text}]({up}{inside}{anchor})"
        if repository:
            return f"[{text}](https://github.com/{repository}/blob/main/{target}{anchor})"
        return text if text.startswith("`") else f"{text} (`{target}`)"

    markdown = _LINK.sub(link, markdown)
    if uri == "paper.md":  # where each function named is one that the API describes
        markdown = _OBJECT.sub(lambda found: f"[`{_short(found[1])}`][{found[1]}]", markdown)
    markdown = _NEEDS.sub(
        lambda found: f"*{found[1][0].upper()}{found[1][1:]}:*\n{{ .needs }}", markdown
    )
    return markdown.replace(_BADGE, _badge(repository))


def _short(name: str) -> str:
    """`hico.evaluate`, `GazeStep`: what a reader needs of a dotted name."""
    module, _, last = name.rpartition(".")
    return f"{module.rpartition('.')[2]}.{last}" if last == "evaluate" else last


def _brought_folders() -> tuple[str, ...]:
    return tuple(pattern.split("*")[0] for pattern in _BROUGHT)


def _resolve(path: PurePosixPath) -> str:
    """A path of the repository without its `..`."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _badge(repository: str) -> str:
    if not repository:
        return ""
    colab = "https://colab.research.google.com"
    address = f"{colab}/github/{repository}/blob/main/{_NOTEBOOK}"
    return f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({address})"
