"""The network of this folder without the code that trained it: NumPy and JAX, or onnxruntime.

    from load import Network

    network = Network()                           # of the folder that this file lies in
    for found in network.detect(image):           # RGB uint8 [height, width, 3]
        print(found["score"], found["verb"], found["object"], found["human_box"])

`model.stablehlo` is run by JAX on its default device (jax.export reads it with the small package
flatbuffers, which JAX does not install), `model.onnx` by onnxruntime. On the command line, with
Pillow: `python load.py photo.jpg` prints the interactions of an image, a JSON line each.
"""

import json
import sys
from pathlib import Path

import numpy as np


class Network:
    """Images in, interactions out.

    Attributes:
        labels: labels.json, with the names of `objects` and `verbs`.
        preprocessing: preprocessing.json.
        input_size: (height, width) of the network's input.
    """

    def __init__(self, folder=Path(__file__).parent):
        folder = Path(folder)
        self.labels = json.loads((folder / "labels.json").read_text("utf-8"))
        self.preprocessing = json.loads((folder / "preprocessing.json").read_text("utf-8"))
        self.input_size = tuple(self.preprocessing["input_size"])
        run = _run_onnx if self.preprocessing["format"] == "onnx" else _run_stablehlo
        self.start = run(folder, self.preprocessing)  # JAX's arrays may still be computed

    def __call__(self, images):
        """Warped images uint8 [B, *input_size, 3] -> dictionary of arrays [B, R, ...].

        Lengths are in cells of the output map, `output_stride` input pixels each; rows come by
        descending score, and only those that are `valid` count.
        """
        found = self.start(np.asarray(images, np.uint8))
        return {name: np.asarray(values) for name, values in found.items()}

    def detect(self, image, threshold=0.1):
        """Interactions of one image by descending score.

        Args:
            image: RGB uint8 [height, width, 3], upright.
            threshold: interactions that score less are left out.

        Returns:
            A list of dictionaries. Boxes (x1, y1, x2, y2), points (x, y), in pixels of the image.
        """
        found = self(letterbox(image, self.input_size)[None])
        return self.interactions(found, 0, image.shape[1], image.shape[0], threshold)

    def interactions(self, found, row, width, height, threshold=0.1):
        """The interactions of one of the images that `found` is of, see `detect`."""
        back = np.linalg.inv(_matrix(width, height, self.input_size))
        stride = self.preprocessing["output_stride"]

        def points(cells):
            return np.asarray(cells, np.float64) * stride @ back[:2, :2].T + back[:2, 2]

        limit = np.array([width, height], np.float64)
        least = np.minimum(limit, 10.0)  # a box is at least ten pixels wide and high

        def box(cells):
            first, last = points(cells.reshape(2, 2))
            first, size = np.clip(first, 0, limit), np.clip(last - first, 10, np.maximum(limit, 10))
            corner = np.clip(first, 0, limit - least)
            return [*corner.tolist(), *np.clip(first + size, corner + least, limit).tolist()]

        rows = np.flatnonzero(found["valid"][row] & (found["score"][row] >= threshold))
        listed = []
        for i in rows:
            one = {name: values[row, i] for name, values in found.items()}
            entry = {
                "verb": self.labels["verbs"][one["verb"]],
                "object": self.labels["objects"][one["object_class"]],
            }
            for name in ("score", "verb_score", "human_score", "object_score"):
                entry[name] = float(one[name])
            for name in ("human_box", "object_box"):
                entry[name] = box(one[name])
            for name in ("interaction_point", "human_target", "object_target"):
                entry[name] = points(one[name]).tolist()
            entry["act_points"] = [
                {
                    "position": points(one[name]).tolist(),
                    "weight": one[name[:-8] + "weight"].tolist(),
                }
                for name in sorted(one)
                if name.endswith("_position")
            ]
            listed.append(entry)
        return listed


def _run_stablehlo(folder, facts):
    """JAX, which compiles for every new number of images."""
    import jax
    from jax import export

    try:
        import flatbuffers  # noqa: F401
    except ImportError as error:
        needs = "jax.export reads files with the package flatbuffers: pip install flatbuffers"
        raise ImportError(needs) from error
    path = folder / facts["model"]
    try:
        exported = export.deserialize(bytearray(path.read_bytes()))
        exported.mlir_module()
    except (ValueError, RuntimeError) as error:
        raise RuntimeError(
            f"{path}: JAX {jax.__version__} cannot read it ({str(error).splitlines()[0]}); "
            f"it was written by JAX {facts['jax']}: use that or a newer one"
        ) from error
    weights = jax.device_put(read_safetensors(folder / "weights.safetensors"))
    call = jax.jit(exported.call)
    return lambda images: call(weights, images)


def _run_onnx(folder, facts):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        folder / facts["model"], providers=onnxruntime.get_available_providers()
    )
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"images": images})))  # noqa: B905


def read_safetensors(path):
    """The arrays of a .safetensors file by name."""
    data = np.memmap(path, np.uint8, "r")
    start = 8 + int(data[:8].view("<u8")[0])
    header = json.loads(bytes(data[8:start]))
    header.pop("__metadata__", None)
    dtypes = {"F32": "<f4", "F64": "<f8"}

    def array(dtype, shape, data_offsets):
        first, last = data_offsets
        return data[start + first : start + last].view(dtypes[dtype]).reshape(shape)

    return {name: array(**entry) for name, entry in header.items()}


def letterbox(image, input_size):
    """Warp RGB uint8 [h, w, 3] to the network's input [*input_size, 3]: centered, black around."""
    back = np.linalg.inv(_matrix(image.shape[1], image.shape[0], input_size))
    rows = _sample(image, back[1, 1] * np.arange(input_size[0]) + back[1, 2], 0)
    return np.rint(_sample(rows, back[0, 0] * np.arange(input_size[1]) + back[0, 2], 1)).astype(
        np.uint8
    )


def _matrix(width, height, input_size):
    """From pixels of an image to those of the network's input, [3, 3]."""
    scale = min(input_size[1] / width, input_size[0] / height)
    x, y = input_size[1] / 2 - scale * width / 2, input_size[0] / 2 - scale * height / 2
    return np.array([[scale, 0.0, x], [0.0, scale, y], [0.0, 0.0, 1.0]])


def _sample(values, position, axis):
    """Read an axis at fractional positions, linearly, zero outside."""
    length, lower, sampled = values.shape[axis], np.floor(position), np.float32(0)
    for index, weight in ((lower, lower + 1 - position), (lower + 1, position - lower)):
        weight = np.where((index >= 0) & (index < length), weight, 0).astype(np.float32)
        weight = np.expand_dims(weight, [i for i in range(values.ndim) if i != axis])
        nearest = np.clip(index, 0, length - 1).astype(np.intp)
        sampled = sampled + weight * np.take(values, nearest, axis)
    return sampled


if __name__ == "__main__":
    from PIL import Image, ImageOps

    if not sys.argv[1:]:
        sys.exit("usage: python load.py photo.jpg ...")
    network, failed = Network(), 0
    for path in sys.argv[1:]:
        try:
            pixels = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            print(f"skipped {path}: {error}", file=sys.stderr)
            failed = 1
            continue
        for found in network.detect(pixels):
            found.pop("act_points")
            print(json.dumps({"file_name": path, **found}))
    sys.exit(failed)
