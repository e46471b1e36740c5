"""--mode=inspect: what is in a data set, as text and, with a folder to write to, as a page."""

import os
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ggnet_jax import io
from ggnet_jax.config import OUTPUT_STRIDE, ModelConfig, check_config
from ggnet_jax.dataset import Batch, DataPipelines
from ggnet_jax.errors import UserError
from ggnet_jax.inspection import page
from ggnet_jax.inspection.choice import varied_images
from ggnet_jax.inspection.columns import Columns, Inspection, Split
from ggnet_jax.inspection.parts import split_title
from ggnet_jax.inspection.sections import describe
from ggnet_jax.inspection.text import to_text
from ggnet_jax.visualize import fonts
from ggnet_jax.visualize.annotated import (
    CENTER,
    NEGATIVE,
    POSITIVE,
    Scene,
    draw_annotated,
    draw_targets,
)
from ggnet_jax.vocabularies import Vocabulary

ANNOTATED, AUGMENTED = 24, 12
"""Images on the two contact sheets of the page."""


def inspect(config: Any, output: str | os.PathLike | None, data: DataPipelines) -> None:
    """Print what is in the data set, and write `inspection.html` into a folder if one is given.

    Args:
        config: with absolute paths.
        output: the folder; None for the text alone.
        data: where the data set comes from.

    Raises:
        UserError: the configuration or the data set cannot be used for training either; or the
            folder cannot be written to.
    """
    check_config(config)
    folder = None
    if output is not None:
        folder = Path(output).expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write to the folder {folder}: {error.strerror or error}"
            ) from error
    inspection = data.inspect_dataset(config.data)
    description = describe(
        inspection,
        input_size=tuple(config.data.image_size),
        divisor=ModelConfig.from_fields(config.model).input_divisor,
        max_boxes=config.data.max_boxes,
        max_relations=config.data.max_relations,
    )
    text = to_text(description)
    if folder is not None:  # before anything is printed: whoever reads may have enough of it
        path = folder / page.FILE
        io.write_file(path, page.to_html(description, _sheets(inspection, config, data)))
        text += f"\n\npage: {path}"
    print(text)


def _sheets(inspection: Inspection, config: Any, data: DataPipelines) -> list[page.Sheet]:
    """The images of the page; none where the annotations are inspected alone."""
    if inspection.dataset is None:
        return []
    vocabulary = inspection.vocabulary
    fonts.say_missing([*vocabulary.objects, *vocabulary.verbs])
    sheets = [_annotated(inspection, split) for split in inspection.splits]
    if inspection.training is not None:
        sheets.insert(1, _augmented(inspection, inspection.training, config, data))
    return sheets


def _annotated(inspection: Inspection, split: Split) -> page.Sheet:
    columns, vocabulary = split.columns, inspection.vocabulary
    positions = varied_images(columns, ANNOTATED)
    images = split.images(positions) if split.images else ()
    figures = []
    for position, (name, image) in zip(positions, images, strict=True):
        drawing = draw_annotated(image, _scene(columns.select(np.array([position])), vocabulary))
        height, width = image.shape[:2]
        figures.append(_figure(drawing, f"{name}, {width} x {height}"))
    notes = (
        "An image of each verb, rarest first, and images evenly spaced. Solid boxes are people, "
        "dashed ones objects, gray ones are in no pair.",
    )
    return page.Sheet(f"Annotated: {split_title(split)}", notes, (), figures)


def _scene(columns: Columns, vocabulary: Vocabulary) -> Scene:
    """Of one image."""
    return Scene(
        columns.boxes,
        [vocabulary.objects[obj].replace("_", " ") for obj in columns.classes.tolist()],
        _phrases(columns.relations, columns.classes, vocabulary),
    )


def _phrases(
    relations: np.ndarray, classes: np.ndarray, vocabulary: Vocabulary
) -> list[tuple[int, int, str]]:
    return [
        (human, obj, vocabulary.verb_phrase(verb, int(classes[obj])))
        for human, obj, verb in relations.tolist()
    ]


def _augmented(
    inspection: Inspection, split: Split, config: Any, data: DataPipelines
) -> page.Sheet:
    """The first images of training as the network sees them, with their targets."""
    dataset, vocabulary = inspection.dataset, inspection.vocabulary
    config = config.copy_and_resolve_references()
    config.batch_size = min(AUGMENTED, dataset.num_train)
    batch = next(data.train_batches(dataset, config))
    render = _renderer(dataset.verbs_of_object, vocabulary, config)
    figures = []
    for row, image_id in enumerate(batch["image_id"].tolist()):
        valid, related = batch["box_valid"][row], batch["relation_valid"][row]
        targets = render({name: values[row : row + 1] for name, values in batch.items()})
        classes = batch["classes"][row]
        scene = Scene(
            _clipped(batch["boxes"][row][valid], targets["glance_mask"].shape[1:3]) * OUTPUT_STRIDE,
            [vocabulary.objects[obj].replace("_", " ") for obj in classes[valid].tolist()],
            _phrases(batch["relations"][row][related], classes, vocabulary),
        )
        cell = targets["relation_cell"][0][related]
        width = targets["glance_mask"].shape[2]
        points = np.stack([cell % width, cell // width], axis=1) * OUTPUT_STRIDE
        image = np.clip(np.rint(batch["image"][row] * 255), 0, 255).astype(np.uint8)
        drawing = draw_targets(
            image,
            scene,
            points,
            targets["glance_mask"][0],
            targets["object_heatmap"][0],
        )
        figures.append(_figure(drawing, split.columns.file_names[image_id]))
    height, width = config.data.image_size
    notes = (
        f"The first images that training takes, in the network's input of {width} x {height}: "
        "flipped, scaled, cropped and recolored as config.data.augment says. Left: what is inside "
        "of the boxes, moved with the image, and a white cross at each interaction point, halfway "
        "between two centers but for the rounding to whole cells. Right: the heatmaps that the "
        "network is to learn, all classes at once, with a ring around each interaction point.",
    )
    key = (
        (POSITIVE, "interaction points, in the channels of their verbs"),
        (NEGATIVE, "hard negatives: other verbs that the object occurs with"),
        (CENTER, "centers of people and objects"),
    )
    return page.Sheet(f"Augmented, with targets: {split_title(split)}", notes, key, figures, True)


def _clipped(boxes: np.ndarray, map_size: tuple[int, ...]) -> np.ndarray:
    """Boxes [n, 4] in cells, clipped to the map as the targets clip them."""
    height, width = map_size
    return np.clip(boxes, 0, np.array([width, height] * 2) - 1)


def _renderer(
    verbs_of_object: np.ndarray, vocabulary: Vocabulary, config: Any
) -> Callable[[Batch], dict[str, np.ndarray]]:
    """What makes the targets of a batch, as training does."""
    import jax
    import jax.numpy as jnp

    from ggnet_jax.training.targets import Annotations, render_targets

    height, width = config.data.image_size
    draw: Any = jax.jit(
        partial(
            render_targets,
            map_size=(height // OUTPUT_STRIDE, width // OUTPUT_STRIDE),
            num_verbs=vocabulary.num_verbs,
            num_objects=vocabulary.num_objects,
            verbs_of_object=jnp.asarray(verbs_of_object),
            sharp_gaze_targets=config.loss.sharp_gaze_targets,
        )
    )

    def render(batch: Batch) -> dict[str, np.ndarray]:
        drawn = draw(Annotations(*(jnp.asarray(batch[name]) for name in Annotations._fields)))
        return {name: np.asarray(value) for name, value in drawn._asdict().items()}

    return render


def _figure(drawing: Image.Image, caption: str) -> page.Figure:
    buffer = BytesIO()
    drawing.save(buffer, "JPEG", quality=85)
    return page.Figure(buffer.getvalue(), drawing.size, caption)
