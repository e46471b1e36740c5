"""Weights and inputs that anyone can make again, for comparison with the released PyTorch code.

The arrays in `fixtures/parity_*.npz` were computed by the released code from exactly these numbers.
An array depends on its PyTorch name, its shape and a seed: NumPy's frozen legacy generator is
seeded with the checksum of "seed/name", draws in float64 and is rounded once to float32.
"""

import json
import zlib
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
GRADIENT_ENTRIES = 400  # about so many of each gradient are kept, evenly spread


def load(name: str) -> tuple[np.lib.npyio.NpzFile, dict]:
    """A fixture of arrays and what is written beside them."""
    arrays = np.load(FIXTURES / f"parity_{name}.npz")
    return arrays, json.loads(str(arrays["meta"]))


def layout(text: str) -> dict[str, tuple[int, ...]]:
    """Lines of "name<TAB>64,3,7,7" -> shapes by name; a scalar has nothing after the tab."""
    shapes = {}
    for line in text.splitlines():
        name, sides = line.split("\t")
        shapes[name] = tuple(int(side) for side in sides.split(",") if side)
    return shapes


def released_layout(network: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes in the released checkpoint of a network, such as 'hourglassggnet2'."""
    arrays, _ = load("layouts")
    return layout(str(arrays[network]))


def generator(name: str, seed: int) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(f"{seed}/{name}".encode()))


def state_dict(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """A whole checkpoint."""
    return {name: array(name, shape, seed) for name, shape in shapes.items()}


def weights_of(arrays: np.lib.npyio.NpzFile) -> dict[str, np.ndarray]:
    """The checkpoint that a fixture's numbers were computed with."""
    return state_dict(layout(str(arrays["layout"])))


def array(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """One entry of a checkpoint, in PyTorch's layout."""
    kind = name.split(".")[-1]
    if kind == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    rng = generator(name, seed)
    if kind == "running_var" or (kind == "weight" and len(shape) == 1):
        values = rng.uniform(0.5, 1.5, shape)
    elif kind in ("running_mean", "bias"):
        values = rng.standard_normal(shape) * 0.1
    else:
        # Learnt upsampling: four taps of the kernel meet in one output.
        fan_in = 4 if ".up_" in name else np.prod(shape[1:], dtype=int)
        values = rng.standard_normal(shape) / np.sqrt(fan_in)
    return (values * _gain(name)).astype(np.float32)


def _gain(name: str) -> float:
    """Keeps the activations of deep networks and the predicted offsets at a useful size."""
    first = name.split(".")[0]
    if first == "kps" and name.endswith(".bn2.weight"):
        return 0.4
    if first in ("dla_up", "ida_up"):
        if name.endswith(".conv_offset_mask.weight"):
            return 0.6
        if name.endswith(".conv.weight"):
            return 2.5
    return 1.0


def image(shape: list[int], seed: int = 0) -> np.ndarray:
    """A network's input of noise: B, G, R planes, float32 [B, 3, H, W]."""
    return generator("image", seed).standard_normal(tuple(shape)).astype(np.float32)


def to_ours(planes: np.ndarray) -> np.ndarray:
    """[B, 3, H, W] with B, G, R planes -> [B, H, W, 3] with R, G, B."""
    return np.ascontiguousarray(planes[:, ::-1].transpose(0, 2, 3, 1))


def decoding_inputs(height: int, width: int, seed: int, per_verb: bool) -> dict[str, np.ndarray]:
    """Probabilities and offsets [C, h, w] with clear peaks, for decoding; see the class below."""
    return _DecodingScene(height, width, seed, per_verb).arrays()


class _DecodingScene:
    """People, objects and interactions at random places of a map of 80 objects and 117 verbs."""

    classes, verbs, people, objects, relations = 80, 117, 8, 14, 16

    def __init__(self, height: int, width: int, seed: int, per_verb: bool):
        self.size, self.seed, self.per_verb = (height, width), seed, per_verb

    def arrays(self) -> dict[str, np.ndarray]:
        height, width = self.size
        regressors = 2 * self.verbs if self.per_verb else 2
        heat, verb_heat = self._floor("hm", self.classes), self._floor("hm_rel", self.verbs)
        offsets = {
            name: 2.0 * generator(name, self.seed).standard_normal((regressors, height, width))
            for name in ("sub_offset", "obj_offset")
        }
        sizes = generator("wh", self.seed).uniform(2.0, 14.0, (2, height, width))
        fractions = generator("reg", self.seed).uniform(0.0, 1.0, (2, height, width))
        allowed = generator("corre", self.seed).uniform(size=(self.verbs, self.classes)) < 0.25

        # The order of the draws below is part of the recipe.
        rng = generator("decode", self.seed)
        humans = [self._peak(rng, heat, 0) for _ in range(self.people)]
        classes = rng.randint(1, self.classes, self.objects)
        objects = [self._peak(rng, heat, int(c)) for c in classes]
        for _ in range(self.relations):
            _, *human = humans[rng.randint(self.people)]
            kind, *obj = objects[rng.randint(self.objects)]
            verb = int(rng.randint(self.verbs))
            y, x = ((a + b) // 2 for a, b in zip(human, obj, strict=True))
            self._stamp(verb_heat[verb], y, x, rng.uniform(0.2, 0.95))
            allowed[verb, kind] = True
            first = 2 * verb if self.per_verb else 0
            jitter = 0.3 * rng.standard_normal(4)
            for name, (cy, cx), (jx, jy) in (
                ("sub_offset", human, jitter[:2]),
                ("obj_offset", obj, jitter[2:]),
            ):
                offsets[name][first, y, x] = x - cx + jx
                offsets[name][first + 1, y, x] = y - cy + jy
        maps = {"hm": heat, "hm_rel": verb_heat, "wh": sizes, "reg": fractions, **offsets}
        return {k: v.astype(np.float32) for k, v in maps.items()} | {"corre": allowed}

    def _floor(self, name: str, channels: int) -> np.ndarray:
        """A background without ties, higher at even rows and columns: many low local maxima."""
        number = channels * self.size[0] * self.size[1]
        ranks = generator(name, self.seed).permutation(number).astype(np.float64)
        level = 0.02 * (ranks / number).reshape(channels, *self.size)
        level[:, ::2, ::2] += 0.03
        return level

    def _peak(self, rng, heat: np.ndarray, kind: int) -> tuple[int, int, int]:
        y, x = int(rng.randint(self.size[0])), int(rng.randint(self.size[1]))
        self._stamp(heat[kind], y, x, rng.uniform(0.2, 0.95))
        return kind, y, x

    def _stamp(self, plane: np.ndarray, y: int, x: int, height: float) -> None:
        """A hill of powers of two, five cells wide, merged by maximum."""
        for i in range(max(y - 2, 0), min(y + 3, self.size[0])):
            for j in range(max(x - 2, 0), min(x + 3, self.size[1])):
                hill = height * 0.5 ** ((i - y) ** 2 + (j - x) ** 2)
                plane[i, j] = max(plane[i, j], hill)
