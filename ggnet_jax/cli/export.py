"""--mode=export: a run's network as files that need neither the run nor this package."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from ggnet_jax.config import OUTPUT_STRIDE
from ggnet_jax.errors import UserError
from ggnet_jax.inference import detection
from ggnet_jax.inference.export import loader, write
from ggnet_jax.inference.export.function import to_arrays
from ggnet_jax.inference.images import letterbox_image
from ggnet_jax.inference.network import Network
from ggnet_jax.run_dir.checkpoints import Step


def export(
    workdir: str | Path,
    output: str | Path | None,
    step: Step = None,
    *,
    format: str | None = None,
) -> list[Path]:
    """Export the network of a run, and say how far the files' results are from `Detector`'s.

    Args:
        workdir: of the run.
        output: a new or empty folder.
        step: of the checkpoint; None for the newest, "best" for the chosen one.
        format: one of `write.FORMATS`.

    Returns:
        The files.

    Raises:
        UserError: see `write.write`; or no run, no such checkpoint, no such format.
    """
    if format is None:
        known = " or ".join(f"--format={name}" for name in write.FORMATS)
        raise UserError(f"say what to export as, {known}")
    if not output:
        raise UserError("give a folder to write to, --output=FOLDER")
    write.check(output, format)
    trained = detection.load(workdir, step)
    print(f"exporting step {trained.step} of {workdir} as {format}")
    differences: list[str] = []
    files = write.write(
        trained, output, format, verify=lambda folder: differences.append(compare(folder, trained))
    )
    for path in files:
        size = path.stat().st_size
        print(f"  {path}  {f'{size / 1e6:.1f} MB' if size >= 1e6 else f'{size / 1e3:.1f} kB'}")
    print(differences[0])
    return files


def compare(folder: Path, trained: detection.Trained) -> str:
    """How far an export's results are from `Detector`'s on two images, in words."""
    images = make_images(2, tuple(trained.config.data.image_size))
    expected = to_arrays(jax.device_get(Network(trained)(images)))
    network = loader.Network(folder)
    found = network(images)
    if all(np.array_equal(found[name], values) for name, values in expected.items()):
        return "on two test images the results are Detector's bit by bit"
    ours, theirs = by_cells(expected), by_cells(found)
    both = ours.keys() & theirs.keys()
    furthest = {
        name: max((np.abs(ours[key][name] - theirs[key][name]).max() for key in both), default=0.0)
        for name, values in expected.items()
        if values.dtype == np.float32
    }
    lengths = ("human_box", "object_box", "interaction_point", "human_target", "object_target")
    pixels = OUTPUT_STRIDE * max(
        value for name, value in furthest.items() if name in lengths or name.endswith("_position")
    )
    dtype = trained.model.config.dtype
    why = ""
    if network.preprocessing["format"] == "onnx" and dtype != "float32":
        why = f" (the file computes in float32, Detector in {dtype})"
    return (
        f"on two test images {len(both)} of {len(ours)} candidates are also Detector's; "
        f"scores differ by at most {furthest['score']:.1g}, places by {pixels:.1g} pixels{why}"
    )


def by_cells(found: Mapping[str, np.ndarray]) -> dict[tuple[int, ...], dict[str, np.ndarray]]:
    """The rows of `to_arrays`, valid or not, by what they are made of.

    That is the image, the cells of interaction, human and object, verb and object class.
    """
    names = ("interaction_cell", "human_cell", "object_cell", "verb", "object_class")
    keys = np.stack([found[name] for name in names], axis=-1)
    return {
        (image, *keys[image, row].tolist()): {
            name: values[image, row] for name, values in found.items()
        }
        for image, row in np.ndindex(keys.shape[:2])
    }


def make_images(count: int, size: tuple[int, int]) -> np.ndarray:
    """Soft blots, always the same, uint8 [count, H, W, 3]."""
    small = (count, max(1, size[0] // 16), max(1, size[1] // 16), 3)
    blots = np.random.default_rng(0).integers(0, 256, small, np.uint8)
    return np.stack([letterbox_image(image, size) for image in blots])
