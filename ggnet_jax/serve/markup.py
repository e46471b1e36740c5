"""HTML of the page's parts. Strings in, strings out; whatever a visitor or a class list says is
escaped."""

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO

from PIL import Image

from ggnet_jax.inference.interactions import Interaction
from ggnet_jax.visualize.panels import Drawn

_QUALITY = 90  # of JPEG; with full color resolution, which thin colored lines need


def header(network: str) -> str:
    """Title and what answers."""
    return (
        "<header><h1>Human-object interactions</h1>"
        "<p>Who does what with which object, and where the network looked to find out.</p>"
        f'<p class="quiet">{escape(network)}</p></header>'
    )


def drop_zone(max_bytes: int, max_pixels: int) -> str:
    """Where a photo is dropped or chosen; `page.js` does the rest."""
    limits = f"up to {max_bytes / 1e6:.3g} MB and {max_pixels / 1e6:.3g} megapixels"
    return (
        f'<label class="drop" data-max-bytes="{max_bytes}">'
        '<input type="file" accept="image/*,.jp2,.heic,.heif,.avif" aria-describedby="limits">'
        '<span class="drop-title wide">Drop a photo here</span>'
        '<span class="wide">or <u>choose a file</u>, or paste one</span>'
        '<span class="drop-title narrow">Choose or take a photo</span>'
        f'<span class="quiet" id="limits">JPEG, PNG, WebP, TIFF, ...; {limits}</span>'
        "</label>"
    )


def examples(thumbnails: Sequence[tuple[str, Image.Image]]) -> str:
    """Buttons with small pictures."""
    buttons = "".join(
        f'<button type="button" data-index="{index}" title="{escape(name)}">'
        f'<img src="{data_url(image)}" alt="Example: {escape(name)}"></button>'
        for index, (name, image) in enumerate(thumbnails)
    )
    return f'<h2>Or take an example</h2><div class="examples">{buttons}</div>'


def welcome() -> str:
    """What is in the drawing's place before the first photo."""
    return (
        '<div class="empty"><p><b>Nothing here yet.</b></p>'
        "<p>Drop a photo, or take an example. The people and objects that were found are drawn "
        "here, with a line from who does something to what it is done with.</p></div>"
    )


def status(message: str, *, failed: bool = False) -> str:
    """The line above the drawing, which screen readers read out when it changes."""
    kind = 'failed" role="alert' if failed else "done"
    return f'<p class="say {kind}">{escape(message)}</p>'


def found(name: str, size: tuple[int, int], count: int, threshold: float, note: str) -> str:
    """The status of a photo."""
    if count:
        note = f"{count} interaction{'s' if count > 1 else ''} of at least {threshold:.2f}"
    return status(f"{note[:1].upper()}{note[1:]} in {name} ({size[0]} × {size[1]} pixels)")


def drawing(image: Image.Image, interactions: Sequence[Interaction]) -> str:
    """The drawing, described for those who do not see it."""
    labels = ", ".join(one.label for one in interactions[:10])
    text = f"Your photo with what was found: {labels}" if labels else "Your photo; nothing found"
    return f'<img class="drawing" src="{data_url(image)}" alt="{escape(text)}">'


def table(rows: Sequence[tuple[Interaction, str]], count: int, chosen: int) -> str:
    """Interactions by score, one of which is chosen.

    Args:
        rows: interactions and their pairs' colors.
        count: how many passed the threshold, of which `rows` are the first.
        chosen: a row.
    """
    if not rows:
        return '<p class="quiet">No interaction scores so much: lower the threshold.</p>'
    lines = []
    for index, (one, color) in enumerate(rows):
        parts = f"verb {one.verb_score:.2f} × person {one.human_score:.2f}"
        parts += f" × {one.object.replace('_', ' ')} {one.object_score:.2f}"
        lines.append(
            f'<tr title="{escape(parts)}"><td><label>'
            f'<input type="radio" name="interaction" value="{index}"'
            f"{' checked' if index == chosen else ''}>"
            f'<span class="chip" style="background:{color}"></span>{escape(one.phrase)}'
            f'</label></td><td class="score">{one.score:.2f}</td>'
            '<td class="bar" aria-hidden="true">'
            f'<span style="width:{100 * one.score:.0f}%"></span></td></tr>'
        )
    more = count - len(rows)
    rest = f'<p class="quiet">and {more} more, which the JSON file has</p>' if more > 0 else ""
    return (
        '<div class="rows"><table><caption class="hidden">Interactions by score; choose one to '
        'see how the network saw it</caption><thead><tr><th scope="col">Interaction</th>'
        '<th scope="col" class="score">Score</th><td class="bar"></td></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>{rest}"
    )


def explanation(one: Interaction, color: str, panels: Sequence[Drawn]) -> str:
    """How the network saw an interaction, step by step.

    Args:
        one: the interaction.
        color: of its pair.
        panels: from `explain_interaction`: points, matching, heatmaps.
    """
    heatmaps = len(one.act_points) + 2  # glance, gaze steps, matching come first
    score = f"{one.score:.2f} = verb {one.verb_score:.2f} × person {one.human_score:.2f}"
    score += f" × {one.object.replace('_', ' ')} {one.object_score:.2f}"
    return (
        f'<h2><span class="chip" style="background:{color}"></span>'
        f"How the network saw “{escape(one.phrase)}”</h2>"
        f'<p class="quiet">Score {escape(score)}</p>'
        "<h3>Where it looked</h3>"
        '<p class="quiet">The glance proposes a point, each gaze step looks again at its '
        "ActPoints, and matching finds the person and the object that belong to it.</p>"
        f'<div class="panels">{"".join(map(_figure, panels[:heatmaps]))}</div>'
        f"<h3>How sure it was of “{escape(one.verb.replace('_', ' '))}”, and where</h3>"
        f'<div class="panels">{"".join(map(_figure, panels[heatmaps:]))}</div>'
    )


def _figure(panel: Drawn) -> str:
    scale = ""
    if panel.colors:
        low, high = (f"{limit:.2f}" for limit in panel.limits)
        colors = ",".join(panel.colors)
        scale = (
            f'<span class="scale">{low}<i style="background:linear-gradient(90deg,{colors})"></i>'
            f"{high} {escape(panel.quantity)}</span>"
        )
    caption = escape(panel.caption[:1].upper() + panel.caption[1:])
    image = f'<img src="{data_url(panel.image)}" alt="{caption}">'
    return f"<figure>{image}<figcaption>{caption}{scale}</figcaption></figure>"


def data_url(image: Image.Image) -> str:
    """An image as part of the page, so that no file of a visitor's lies on the server."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
