"""A run's network -> a folder to hand on, which needs neither this package nor the run.

model.stablehlo and weights.safetensors, or model.onnx
labels.json          the vocabulary
preprocessing.json   how images come in and boxes go out
load.py              images in, dictionaries out, in NumPy and JAX or onnxruntime alone
"""

import contextlib
import importlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ggnet_jax import io
from ggnet_jax.config import OUTPUT_STRIDE
from ggnet_jax.errors import UserError
from ggnet_jax.inference import detection
from ggnet_jax.inference.export import loader, onnx_format, stablehlo

LABELS, PREPROCESSING, LOADER = "labels.json", "preprocessing.json", "load.py"
FORMATS = {"stablehlo": stablehlo, "onnx": onnx_format}
_EXTRAS = {"stablehlo": "export", "onnx": "onnx"}  # of this package, with what each format needs


def write(
    trained: detection.Trained,
    output: str | Path,
    format: str,
    verify: Callable[[Path], None] = lambda folder: None,
) -> list[Path]:
    """Export a network.

    Args:
        trained: the network.
        output: a new or empty folder. It appears once everything is written.
        format: of `FORMATS`.
        verify: called with the folder before it has its name; what it raises undoes the export.

    Returns:
        The files.

    Raises:
        UserError: see `check`; or the folder cannot be written, or the network holds an operation
            that the format does not have.
    """
    output = Path(output)
    check(output, format)
    target = output.resolve()
    draft = target.with_name(target.name + io.DRAFT)
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        facts = FORMATS[format].write(draft, trained)
        io.write_json(draft / LABELS, trained.vocabulary.to_dict(), depth=1)
        io.write_json(draft / PREPROCESSING, _preprocessing(trained, format, facts), depth=1)
        program = Path(loader.__file__).read_bytes()
        io.write_file(draft / LOADER, program)
        verify(draft)
        if target.is_dir():
            target.rmdir()  # empty: a rename onto it is refused on some systems
        draft.rename(target)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if not target.exists():
            with contextlib.suppress(OSError):  # one that is not empty stays
                for folder in made:
                    folder.rmdir()
    return sorted(path for path in output.iterdir())


def check(output: str | Path, format: str) -> None:
    """Raise a UserError unless a network can be exported in this format to this folder."""
    if format not in FORMATS:
        known = " or ".join(f"--format={name}" for name in FORMATS)
        raise UserError(f"--format={format}; an export is {known}")
    for package in FORMATS[format].PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError as error:
            extra = _EXTRAS[format]
            raise UserError(
                f"--format={format} needs {package} ({error}): "
                f'pip install "ggnet-jax[{extra}]", in a checkout pip install -e ".[{extra}]"'
            ) from error
    output = Path(output)
    if output.is_dir():
        first = min((entry.name for entry in output.iterdir()), default=None)
        if first is not None:
            raise UserError(f"--output={output} is not empty ({first}); give a new folder")
    elif output.exists() or output.is_symlink():
        raise UserError(f"--output={output} is a file; give a new folder")


def _preprocessing(
    trained: detection.Trained, format: str, facts: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "exported_by": "ggnet_jax",
        "version": 1,
        "format": format,
        **facts,
        "step": trained.step,
        "input_size": list(trained.config.data.image_size),
        "images": "uint8 [batch, height, width, 3], RGB; the network normalizes them itself",
        "letterbox": "scaled by the smaller ratio of input to image, centered, black around, "
        "bilinear; pixel (0, 0) lies at (0, 0): see letterbox in load.py",
        "output_stride": OUTPUT_STRIDE,
        "boxes": "x1, y1, x2, y2 in cells; times output_stride in pixels of the input",
        "top_k": trained.config.eval.top_k,
    }
