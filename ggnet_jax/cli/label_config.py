"""`ggnet label-config classes.json`: what Label Studio needs to know to annotate interactions.

Objects are rectangles, a verb is a label of the relation from a person to an object. An export of
the project is a data set (`data_pipelines/label_studio`). Written for Label Studio 1.23.
"""

import colorsys
import re
import sys
from xml.etree import ElementTree

from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary, class_list

IMAGE_KEY = "image"
"""The field of a task's data that has the image."""

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GOLDEN_RATIO = 0.618033988749895  # steps of it around the color wheel stay apart from each other


def print_config(classes: str | None) -> int:
    """Print the labeling configuration of a class list; return the exit status.

    Args:
        classes: a class list or vocabulary, see `class_list.vocabulary`.

    Raises:
        UserError: there is none, or no labels can be made of it.
    """
    if not classes:
        raise UserError(f"give the class list, ggnet label-config FILE: {class_list.FORM}")
    vocabulary = class_list.vocabulary(classes)
    try:
        text = labeling_config(vocabulary)
    except UserError as error:
        raise UserError(f"{classes}: {error}") from None
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "xmlcharrefreplace").decode(encoding))
    print("Paste it into Label Studio: Settings, Labeling Interface, Code", file=sys.stderr)
    return 0


def labeling_config(vocabulary: Vocabulary) -> str:
    """The XML: a rectangle label for each object, the person first, a relation label for each verb.

    Raises:
        UserError: a name has characters that XML has no place for.
    """
    for name in (*vocabulary.objects, *vocabulary.verbs):
        if odd := _NO_XML.search(name):
            raise UserError(f"the name {name!r} has {odd[0]!r}, which no label can have")
    view = ElementTree.Element("View")
    # A person often does several things with one object, and one relation joins the two.
    relations = ElementTree.SubElement(view, "Relations", choice="multiple")
    for name, color in zip(vocabulary.verbs, _colors(vocabulary.num_verbs, 0.08), strict=True):
        ElementTree.SubElement(relations, "Relation", value=name, background=color)
    rectangles = ElementTree.SubElement(
        view, "RectangleLabels", name="label", toName="image", canRotate="false"
    )
    for name, color in zip(vocabulary.objects, _colors(vocabulary.num_objects, 0.0), strict=True):
        ElementTree.SubElement(rectangles, "Label", value=name, background=color)
    ElementTree.SubElement(view, "Image", name="image", value=f"${IMAGE_KEY}", zoomControl="true")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode")


def _colors(number: int, first_hue: float) -> list[str]:
    """Colors like "#d62828", each other than those before it."""
    colors = []
    for index in range(number):
        hue = (first_hue + index * _GOLDEN_RATIO) % 1
        value = (0.85, 0.6, 1.0)[index // 24 % 3]  # beyond two dozen hues brightness helps
        rgb = colorsys.hsv_to_rgb(hue, 0.8, value)
        colors.append("#" + "".join(f"{round(255 * channel):02x}" for channel in rgb))
    return colors
