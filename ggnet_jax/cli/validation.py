"""An evaluation during training: its numbers, and what TensorBoard shows beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax.cli import evaluate_split
from ggnet_jax.cli.predict import nothing_above
from ggnet_jax.dataset import DataPipelines
from ggnet_jax.evaluation import precision_recall
from ggnet_jax.inference.interactions import Interaction
from ggnet_jax.training.tracking import Evaluated
from ggnet_jax.visualize import draw_interactions
from ggnet_jax.vocabularies import Vocabulary

_BOUNDS = (640, 480)  # pixels of a drawing at most: every evaluation adds some to the events


def evaluate_in_training(
    config: Any, workdir: str | Path, step: int, *, data: DataPipelines
) -> Evaluated:
    """Evaluate a checkpoint on the validation split or, without one, on the evaluation split.

    Args:
        config: resolved; `eval.pictures` images are drawn, the same at every evaluation.
        workdir: of the run.
        step: of the checkpoint.
        data: where the split comes from.

    Returns:
        What was found; nothing in all processes but the first.
    """
    if data.load_dataset(config.data).val_split:
        config = evaluate_split.config_of_validation(config)
    scored = evaluate_split.score(config, workdir, step, data=data)
    if scored is None:
        return Evaluated({})
    dataset = scored.dataset
    entries = {entry["file_name"]: entry for entry in scored.entries}
    images = {}
    if config.eval.pictures > 0:
        examples = dataset.example_images(config.data.eval_split, config.eval.pictures)
        for number, (name, image) in enumerate(examples, 1):
            drawn = draw_entry(image, entries[name], dataset.vocabulary, config.eval.threshold)
            images[f"image_{number}/{Path(name).name}"] = drawn
    return Evaluated(scored.metrics, images, precision_recall.pooled(scored.match()))


def draw_entry(
    image: np.ndarray, entry: Mapping[str, Any], vocabulary: Vocabulary, threshold: float
) -> np.ndarray:
    """Draw the predictions of an image.

    Args:
        image: RGB uint8 [H, W, 3].
        entry: its prediction entry, in PPDM's format.
        vocabulary: gives the names.
        threshold: lowest score that is drawn; where nothing reaches it, the best is.

    Returns:
        RGB uint8, at most 640 x 480.
    """
    found = _interactions(entry, vocabulary)
    shown, note = [one for one in found if one.score >= threshold], ""
    if not shown:  # early in training: one can still see what it thinks of
        shown, note = found[:1], nothing_above(threshold, found)
    return np.asarray(draw_interactions(image, shown, bounds=_BOUNDS, note=note))


def _interactions(entry: Mapping[str, Any], vocabulary: Vocabulary) -> list[Interaction]:
    """What an entry predicts, by descending score; points are the centers of the boxes."""
    objects, verbs = vocabulary.object_ids.index, vocabulary.verb_ids.index
    found = []
    for pair in entry["hoi_prediction"]:
        human, target = (entry["predictions"][pair[of]] for of in ("subject_id", "object_id"))
        verb, obj = verbs(pair["category_id"]), objects(target["category_id"])
        ends = [_center(box["bbox"]) for box in (human, target)]
        middle = (ends[0][0] + ends[1][0]) / 2, (ends[0][1] + ends[1][1]) / 2
        found.append(
            Interaction(
                human_box=tuple(human["bbox"]),
                object_box=tuple(target["bbox"]),
                object=vocabulary.objects[obj],
                verb=vocabulary.verbs[verb],
                phrase=vocabulary.verb_phrase(verb, obj),
                score=pair["score"],
                human_score=human.get("score", 1.0),
                object_score=target.get("score", 1.0),
                verb_score=pair["score"],
                interaction_point=middle,
                human_point=ends[0],
                object_point=ends[1],
                human_target=ends[0],
                object_target=ends[1],
            )
        )
    return sorted(found, key=lambda one: -one.score)


def _center(box: Sequence[float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
