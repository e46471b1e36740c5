"""The page: Gradio's components and what happens when one of them is used."""

import base64
import contextlib
import json
import os
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from ggnet_jax.cli.image_paths import EXPLAINED
from ggnet_jax.errors import UserError
from ggnet_jax.serve import markup
from ggnet_jax.serve.photos import Photo, clean_name
from ggnet_jax.visualize import draw_explanation, draw_interactions
from ggnet_jax.visualize.panels import explain_interaction

ASSETS = Path(__file__).parent / "assets"
NETWORK = "network"  # its photos wait in one line
BUSY = "Not looked at: too many photos are waiting, or the server has stopped. Try again."
GONE = "This page was idle for too long and its photo is forgotten; drop it again."
_KEPT_SECONDS = 3600  # that a photo is remembered after it was last used
_WIDE, _NARROW = (1080, 800), (540, 700)  # bounds of the drawing on a screen and on a phone

Look = Callable[[bytes, str], Photo]


def build(
    look: Look,
    *,
    network: str,
    examples: Sequence[tuple[str, bytes, Image.Image]],
    uploads: Path,
    threshold: float,
    max_bytes: int,
    max_pixels: int,
) -> gr.Blocks:
    """Make the page.

    Args:
        look: runs the network on a file's content and name; raises a UserError.
        network: a line about it.
        examples: name, content and thumbnail of each example.
        uploads: the folder in which Gradio puts what is uploaded.
        threshold: that the slider starts with.
        max_bytes: of an upload.
        max_pixels: of a photo, for the text.
    """
    with gr.Blocks(
        title="Human-object interactions", analytics_enabled=False, delete_cache=(600, 1800)
    ) as page:
        photo = gr.State(time_to_live=_KEPT_SECONDS)
        chosen = gr.State(0)
        width = gr.Number(visible=False)
        gr.HTML(markup.header(network), elem_id="header", apply_default_css=False)
        with gr.Row(elem_id="columns", equal_height=False):
            with gr.Column(scale=4, min_width=300):
                drop = gr.HTML(
                    markup.drop_zone(max_bytes, max_pixels),
                    js_on_load=_asset("drop.js"),
                    elem_id="drop",
                    apply_default_css=False,
                )
                strip = gr.HTML(
                    markup.examples([(name, thumbnail) for name, _, thumbnail in examples]),
                    js_on_load=_asset("examples.js"),
                    elem_id="examples",
                    apply_default_css=False,
                    visible=bool(examples),
                )
                with gr.Column(visible=False, elem_id="results") as results:
                    slider = gr.Slider(
                        0,
                        1,
                        threshold,
                        step=0.01,
                        label="Threshold",
                        info="Interactions that score less are not shown.",
                        elem_id="threshold",
                    )
                    table = gr.HTML(
                        js_on_load=_asset("table.js"), elem_id="table", apply_default_css=False
                    )
                    gr.HTML("<h2>Download</h2>", apply_default_css=False)
                    with gr.Row(elem_id="downloads"):
                        save_drawing = gr.Button("Drawing", size="sm", min_width=90)
                        save_explanation = gr.Button("Explanation", size="sm", min_width=90)
                        save_json = gr.Button("JSON", size="sm", min_width=90)
            with gr.Column(scale=7, min_width=300):
                say = gr.HTML(elem_id="say", apply_default_css=False)
                drawing = gr.HTML(markup.welcome(), elem_id="drawing", apply_default_css=False)
        explanation = gr.HTML(elem_id="explanation", apply_default_css=False)
        file = gr.JSON(visible="hidden")

        shown = [say, drawing, table, explanation, save_explanation, results]

        def show(one: Photo, threshold: float, row: int, width: float | None) -> list[Any]:
            return [*_say_and_draw(one, threshold, width), *_table(one, threshold, row), _ON]

        def refuse(message: str) -> list[Any]:
            failed = markup.status(message, failed=True)
            return [None, 0, failed, markup.welcome(), "", "", gr.skip(), _OFF]

        def answer(content: bytes, name: str, threshold: Any, width: Any) -> list[Any]:
            try:
                one = look(content, name)
            except UserError as error:
                return refuse(str(error))
            return [one, 0, *show(one, _unit(threshold), 0, width)]

        def on_photo(threshold: float, width: float | None, event: gr.EventData) -> list[Any]:
            name = str(event._data.get("name", ""))
            try:
                content = take_upload(uploads, event._data.get("path"))
            except UserError as error:
                return refuse(f"{clean_name(name)}: {error}")
            return answer(content, name, threshold, width)

        def on_example(threshold: float, width: float | None, event: gr.EventData) -> list[Any]:
            index = _row(event._data.get("index"))
            if not 0 <= index < len(examples):
                return refuse("there is no such example")
            name, content, _ = examples[index]
            return answer(content, name, threshold, width)

        def on_refused(event: gr.EventData) -> list[Any]:
            name, size = clean_name(str(event._data.get("name", ""))), _row(event._data.get("size"))
            if size > max_bytes:
                return refuse(f"{name}: {size / 1e6:.1f} MB; up to {max_bytes / 1e6:.3g} are taken")
            return refuse(f"{name}: could not be sent; try again")

        def on_threshold(
            one: Photo | None, row: int, threshold: float, width: float | None
        ) -> list[Any]:
            if one is None:
                return refuse(GONE)[2:]
            return show(one, _unit(threshold), row, width)

        def on_choice(one: Photo | None, threshold: float, event: gr.EventData) -> list[Any]:
            row = _row(event._data.get("row"))
            if one is None:
                return [0, markup.status(GONE, failed=True)]
            return [row, _explanation(one, _unit(threshold), row)]

        def saving(make: Callable[[Photo, int, float], Any]) -> Callable[..., list[Any]]:
            def on_save(one: Photo | None, row: int, threshold: Any) -> list[Any]:
                if one is None:
                    return [None, markup.status(GONE, failed=True)]
                return [make(one, row, _unit(threshold)), gr.skip()]

            return on_save

        # What the network has to do waits in one line; what is drawn from its answer does not.
        looking: dict[str, Any] = {
            "inputs": [slider, width],
            "outputs": [photo, chosen, *shown],
            "concurrency_id": NETWORK,
            "concurrency_limit": 1,
            "trigger_mode": "always_last",
            "show_progress_on": [drawing],
            "api_visibility": "private",
        }
        quick: dict[str, Any] = {
            "show_progress": "hidden",
            "trigger_mode": "always_last",
            "concurrency_limit": 4,
            "api_visibility": "private",
        }
        for looked in (drop.photo(on_photo, **looking), strip.example(on_example, **looking)):
            # The server is not asked: it has just refused, or is gone.
            looked.failure(
                None, None, say, js=f"() => {json.dumps(markup.status(BUSY, failed=True))}"
            )
        drop.refused(on_refused, None, [photo, chosen, *shown], **quick)
        slider.change(on_threshold, [photo, chosen, slider, width], shown, **quick)
        table.choose(
            on_choice,
            [photo, slider],
            [chosen, explanation],
            **quick | {"show_progress": "minimal", "show_progress_on": [explanation]},
        )
        for button, make in (
            (save_drawing, _drawing_file),
            (save_explanation, _explanation_file),
            (save_json, _json_file),
        ):
            button.click(saving(make), [photo, chosen, slider], [file, say], **quick).then(
                None, file, None, js=_asset("save.js")
            )
        page.load(None, None, width, js="() => window.innerWidth", api_visibility="private")
    for block in page.blocks.values():
        block.async_move_resource_to_block_cache = _no_files
    return page


async def _no_files(url_or_file_path: Any) -> str | None:
    """No component here holds a file: who sends the address of one would have Gradio fetch it."""
    raise gr.Error("this page takes photos by its drop zone alone")


_ON, _OFF = gr.update(visible=True), gr.update(visible=False)


def take_upload(uploads: Path, path: Any) -> bytes:
    """The content of a file that was uploaded, which is deleted.

    Args:
        uploads: Gradio's folder.
        path: what the browser says where it lies; not to be trusted.

    Raises:
        UserError: there is no such upload.
    """
    uploads = uploads.resolve()
    if isinstance(path, str) and "\0" not in path:
        file = Path(path)
        # Gradio gives every upload a folder of its own, called by the content's hash.
        if file.resolve() == file and file.parent.parent == uploads and file.is_file():
            try:
                return file.read_bytes()
            finally:
                file.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    os.rmdir(file.parent)
    raise UserError("was not received; try again")


def _say_and_draw(one: Photo, threshold: float, width: float | None) -> list[str]:
    shown = one.shown(threshold)
    note = one.note(threshold)
    said = markup.found(one.name, one.size, len(shown), threshold, note)
    narrow = isinstance(width, int | float) and 0 < width < 700
    picture = draw_interactions(
        one.view.image, shown, bounds=_NARROW if narrow else _WIDE, note=note
    )
    return [said, markup.drawing(picture, shown)]


def _table(one: Photo, threshold: float, row: int) -> list[Any]:
    """The table, the explanation of the row that is shown as chosen, its button."""
    rows = one.explained(threshold)
    row = _shown_row(one, threshold, row)
    table = markup.table(rows, one.count(threshold), row)
    button = gr.update(interactive=bool(rows))
    return [table, _explanation(one, threshold, row), button]


def _shown_row(one: Photo, threshold: float, row: int) -> int:
    """The chosen row, or the first if the threshold leaves that out."""
    return row if 0 <= row < len(one.explained(threshold)) else 0


def _explanation(one: Photo, threshold: float, row: int) -> str:
    pair = one.pair(threshold, row)
    if pair is None:
        return ""
    panels = explain_interaction(one.view.image, pair, one.view.heatmaps[row])
    return markup.explanation(pair.best, pair.color, panels)


def _drawing_file(one: Photo, row: int, threshold: float) -> dict[str, str]:
    shown, note = one.shown(threshold), one.note(threshold)
    picture = draw_interactions(one.view.image, shown, bounds=_WIDE, note=note)  # as on a screen
    return _file(f"{one.drawing_name}.png", "image/png", _png(picture))


def _explanation_file(one: Photo, row: int, threshold: float) -> dict[str, str] | None:
    row = _shown_row(one, threshold, row)
    pair = one.pair(threshold, row)
    if pair is None:
        return None
    picture = draw_explanation(one.view.image, [pair.best], [one.view.heatmaps[row]])
    return _file(f"{one.drawing_name}{EXPLAINED}.png", "image/png", _png(picture))


def _json_file(one: Photo, row: int, threshold: float) -> dict[str, str]:
    line = one.json_line(threshold)
    return _file(f"{one.drawing_name}.json", "application/json", line.encode())


def _file(name: str, kind: str, content: bytes) -> dict[str, str]:
    """For `save.js`."""
    return {"name": name, "type": kind, "content": base64.b64encode(content).decode()}


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _unit(value: Any) -> float:
    """A threshold from the browser."""
    return min(max(float(value), 0.0), 1.0) if isinstance(value, int | float) else 0.0


def _row(value: Any) -> int:
    """A number from the browser."""
    return int(value) if isinstance(value, int | float) and abs(value) < 2**53 else -1


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
