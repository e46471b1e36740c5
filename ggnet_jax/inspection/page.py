"""A description as one HTML page that needs nothing beside it: no script, no other file."""

import base64
import dataclasses
from collections.abc import Iterator, Sequence
from html import escape

from ggnet_jax.inspection.parts import Description, Section, Table
from ggnet_jax.inspection.text import cell

FILE = "inspection.html"
_LONG = 25  # rows; a longer table scrolls in a frame of its own

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1d1f; --paper: #fff; --soft: #5d6167; --line: #d9dce0;
  --fill: #f3f4f6; --bar: #9ecbea; --mark: #a34700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e7e9; --paper: #16181b; --soft: #a4a9b0;
  --line: #363a40; --fill: #202327; --bar: #2d5f80; --mark: #f0a35c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; overflow-wrap: anywhere; }
p, li { max-width: 46rem; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin: .8rem 0; }
a { color: inherit; }
.look { background: var(--fill); border-left: 4px solid var(--mark); padding: .5rem 1rem; }
.look h2 { margin: 0; }
.look ul, ul { padding-left: 1.2rem; }
.frame { overflow-x: auto; margin: .6rem 0; }
.long { max-height: 30rem; overflow-y: auto; border: 1px solid var(--line); }
.long thead th { position: sticky; top: 0; background: var(--fill); }
table { border-collapse: collapse; font-size: .92rem; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; max-width: 24rem; }
td.bar { text-align: left; min-width: 7rem; width: 14rem; }
td.bar span { display: block; height: .8em; margin-top: .35em; background: var(--bar);
  min-width: 1px; }
td.mark { text-align: left; color: var(--mark); white-space: nowrap; }
.report { white-space: pre-wrap; font-size: .88rem; }
.sheet { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 34rem), 1fr)); }
figure { margin: 0; }
img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .82rem; color: var(--soft); overflow-wrap: anywhere; }
.key i { display: inline-block; width: .8em; height: .8em; margin-right: .3em; }
"""  # noqa: E501


@dataclasses.dataclass(frozen=True)
class Figure:
    """An image on the page.

    Attributes:
        jpeg: its bytes.
        size: (width, height) in pixels.
        caption: under it.
    """

    jpeg: bytes
    size: tuple[int, int]
    caption: str


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A contact sheet.

    Attributes:
        title: of it.
        notes: sentences before it.
        key: (color, what it means).
        figures: the images.
        wide: two images beside each other in each.
    """

    title: str
    notes: tuple[str, ...]
    key: tuple[tuple[str, str], ...]
    figures: Sequence[Figure]
    wide: bool = False


def to_html(description: Description, sheets: Sequence[Sheet]) -> Iterator[str]:
    """The page, in pieces."""
    titles = [*(sheet.title for sheet in sheets), *(s.title for s in description.sections)]
    heading = escape(description.title)
    yield "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
    yield "<meta name='viewport' content='width=device-width, initial-scale=1'>"
    yield f"<title>{heading}</title><style>{_STYLE}</style></head><body>\n<h1>{heading}</h1>\n"
    yield f"<p>{escape(description.place)}</p>\n<nav>"
    for title in titles:
        yield f"<a href='#{_anchor(title)}'>{escape(title)}</a>"
    yield "</nav>\n"
    if description.remarks:
        remarks = "".join(f"<li>{escape(remark)}</li>" for remark in description.remarks)
        yield f"<div class='look'><h2>Worth a look</h2><ul>{remarks}</ul></div>\n"
    for sheet in sheets:
        yield from _sheet(sheet)
    for section in description.sections:
        yield from _section(section)
    yield "</body></html>\n"


def _anchor(title: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in title.lower())


def _heading(title: str) -> str:
    return f"<h2 id='{_anchor(title)}'>{escape(title)}</h2>\n"


def _sheet(sheet: Sheet) -> Iterator[str]:
    yield _heading(sheet.title)
    yield from _notes(sheet.notes)
    if sheet.key:
        parts = [f"<i style='background:{color}'></i>{escape(what)}" for color, what in sheet.key]
        yield f"<p class='key'>{' &nbsp; '.join(parts)}</p>\n"
    yield f"<div class='sheet{' wide' * sheet.wide}'>\n"
    for figure in sheet.figures:
        data = base64.b64encode(figure.jpeg).decode("ascii")
        width, height = figure.size
        caption = escape(figure.caption, quote=True)
        yield (
            f"<figure><img src='data:image/jpeg;base64,{data}' width='{width}' height='{height}' "
            f"alt='{caption}' loading='lazy'><figcaption>{caption}</figcaption></figure>\n"
        )
    yield "</div>\n"


def _section(section: Section) -> Iterator[str]:
    yield _heading(section.title)
    yield from _notes(section.notes)
    for table in section.tables:
        yield from _table(table)
    for heading, items in section.lists:
        yield f"<h3>{escape(heading)}</h3>\n"
        if items:
            yield f"<div class='report'>{escape(chr(10).join(items))}</div>\n"


def _notes(notes: Sequence[str]) -> Iterator[str]:
    for note in notes:
        yield f"<p>{escape(note)}</p>\n"


def _table(table: Table) -> Iterator[str]:
    long = " long" if len(table.rows) > _LONG else ""
    yield f"<div class='frame{long}'><table><thead><tr>"
    yield "".join(f"<th>{escape(name)}</th>" for name in table.header)
    yield "<th></th>" * ((table.bars is not None) + bool(table.marks)) + "</tr></thead><tbody>\n"
    most = max(table.bars or [0]) or 1
    for number, row in enumerate(table.rows):
        yield "<tr>" + "".join(f"<td>{escape(cell(value))}</td>" for value in row)
        if table.bars is not None:
            share = 100 * table.bars[number] / most
            yield f"<td class='bar'><span style='width:{share:.1f}%'></span></td>"
        if table.marks:
            yield f"<td class='mark'>{escape(table.marks[number])}</td>"
        yield "</tr>\n"
    yield "</tbody></table></div>\n"
