"""An exported folder -> what `Detector` wraps."""

from pathlib import Path

import numpy as np

from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.inference import detection
from ggnet_jax.inference.detection import Found
from ggnet_jax.inference.export import loader
from ggnet_jax.inference.export.function import from_arrays
from ggnet_jax.inference.export.write import LABELS, PREPROCESSING
from ggnet_jax.run_dir.checkpoints import Step
from ggnet_jax.run_dir.folder import Fields, is_run
from ggnet_jax.vocabularies import Vocabulary


class ExportedNetwork:
    """Calls an exported network as `network.Network` does a run's; it has no heatmaps."""

    def __init__(self, folder: Path):
        """Load the network of a folder."""
        try:
            self._network = loader.Network(folder)
        except Exception as error:  # bytes that are damaged fail anywhere
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(f"{folder}: the exported network cannot be loaded; {reason}") from error
        self._folder = folder

    def __call__(self, images: np.ndarray, heatmaps: int = 0) -> Found:
        """Start detection on uint8 images [B, H, W, 3]."""
        if heatmaps:
            raise UserError(
                f"{self._folder}: an exported network gives no heatmaps; use the run's workdir"
            )
        return from_arrays(self._network.start(images))


def is_export(folder: Path) -> bool:
    """Whether a folder holds an exported network, and no run."""
    return (folder / PREPROCESSING).is_file() and not is_run(folder)


def load(folder: Path, step: Step = None) -> tuple[detection.Trained, ExportedNetwork]:
    """Read an exported network.

    Args:
        folder: of the export.
        step: of the checkpoint that has to be in it; None for any.

    Returns:
        What is known of the network, without model and weights; and what calls it.

    Raises:
        UserError: the folder holds another step, or a file is missing, damaged or too new.
    """
    vocabulary = Vocabulary.from_dict(io.read_json(folder / LABELS))
    facts = io.read_json(folder / PREPROCESSING)
    try:
        config = Fields(
            data=Fields(image_size=tuple(facts["input_size"])), eval=Fields(top_k=facts["top_k"])
        )
        exported = facts["step"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / PREPROCESSING} is not an export's: {error}") from error
    if step not in (None, exported):
        raise UserError(f"{folder} is an export of step {exported}, not of {step}")
    unknown: dict = {"model": None, "variables": {}}
    trained = detection.Trained(config=config, vocabulary=vocabulary, step=exported, **unknown)
    return trained, ExportedNetwork(folder)
