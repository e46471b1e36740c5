"""The compiled functions of a trained network, and its weights as these read them.

Training keeps weights in float32 and in JAX's own memory order. A GPU convolves in bfloat16 and
reads kernels in an order of its own, and would convert and transpose every one of them for every
batch. `Network` does that once: it asks the first function that is compiled in which dtype and
order it reads each weight. For a GPU, which waits for the host, it also puts three of four arrays,
biases and all of batch norm, into one: each costs the start of a call some microseconds.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Format, Layout
from jax.extend.core import Jaxpr, Literal

from ggnet_jax.inference import detection
from ggnet_jax.inference.detection import Found, Trained
from ggnet_jax.ops.cpu_options import compiler_options

_CALLS = ("jit", "closed_call", "remat2")  # that run a program once, on their own arguments


class Network:
    """Calls a network on batches; may be called by several threads at once.

    A function is compiled the first time that a batch size and a number of heatmaps are asked for,
    by whichever thread comes first, while the others wait.
    """

    def __init__(self, trained: Trained, *, packed: bool | None = None):
        """Wrap a trained network.

        Args:
            trained: its variables may be `jax.ShapeDtypeStruct`s, see `detection.load_shapes`; then
                `put` has to bring the arrays before the first call.
            packed: pass the weights as `pack` makes them; None: unless the device is a CPU, where
                that gains nothing and takes seconds to compile.
        """
        self._function_of = trained._replace(variables=None)
        self._device = _device_of(trained.variables)
        (device,) = self._device.device_set
        self._platform = device.platform
        self._packed = self._platform != "cpu" if packed is None else packed
        self._given = jax.tree.map(_shape, trained.variables)
        self._shapes = jax.eval_shape(pack, self._given) if self._packed else self._given
        self._formats: Any = None
        self._arrays: Any = None  # as given, until it is known how they are read
        self._variables: Any = None
        self._compiled: dict[tuple[int, int], jax.stages.Compiled] = {}
        self._lock = threading.RLock()
        first = jax.tree.leaves(trained.variables)[:1]
        if not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in first):
            self.put(trained.variables)

    def put(self, variables: Mapping[str, Any]) -> None:
        """Hand over the weights of a network that was made without."""
        with self._lock:
            arrays = pack(variables) if self._packed else variables
            self._arrays = jax.device_put(arrays, self._device)

    def compile(self, batch_size: int, heatmaps: int = 0) -> jax.stages.Compiled:
        """The compiled `detect(weights, images) -> Found`; see `detection.make_detect`.

        Args:
            batch_size: of the uint8 images [B, H, W, 3] that it takes.
            heatmaps: as for `make_detect`.
        """
        key = batch_size, heatmaps
        if key not in self._compiled:
            with self._lock:
                if key not in self._compiled:
                    self._compiled[key] = self._compile(batch_size, heatmaps)
        return self._compiled[key]

    def __call__(self, images: np.ndarray, heatmaps: int = 0) -> Found:
        """Start detection on uint8 images [B, H, W, 3]; the result is on the device."""
        compiled = self.compile(images.shape[0], heatmaps)
        if self._variables is None:
            with self._lock:
                if self._variables is None:
                    self._variables = self._arranged(self._arrays)
                    self._arrays = None
        return compiled(self._variables, images)

    def _compile(self, batch_size: int, heatmaps: int) -> jax.stages.Compiled:
        trained = self._function_of
        detect = detection.detect_function(
            trained.model,
            top_k=trained.config.eval.top_k,
            valid_pairs=trained.vocabulary.valid_pairs,
            heatmaps=heatmaps,
        )
        images = jax.ShapeDtypeStruct((batch_size, *trained.config.data.image_size, 3), jnp.uint8)
        formats = self._formats or Format(Layout.AUTO, self._device)

        def detect_with(weights: Any, images: jax.Array) -> Found:
            return detect(unpack(weights, self._given) if self._packed else weights, images)

        options = compiler_options(trained.model.config.dtype, self._platform)
        jitted = jax.jit(detect_with, in_shardings=(formats, None), compiler_options=options)
        traced = jitted.trace(self._shapes, images)
        if self._formats is None:
            given, self._shapes = self._shapes, read_as(traced.jaxpr.jaxpr, self._shapes)
            if given != self._shapes:
                traced = jitted.trace(self._shapes, images)
        compiled = traced.lower().compile()
        if self._formats is None:
            self._formats = compiled.input_formats[0][0]
        return compiled

    def _arranged(self, arrays: Any) -> Any:
        """The weights in the dtypes and the memory order in which the network reads them."""
        shapes, formats = jax.tree.leaves(self._shapes), jax.tree.leaves(self._formats)
        if all(
            leaf.dtype == shape.dtype and format.layout in (None, leaf.format.layout)
            for leaf, shape, format in zip(jax.tree.leaves(arrays), shapes, formats, strict=True)
        ):
            return arrays

        def cast(variables: Any) -> Any:
            return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), variables, self._shapes)

        # One program for all of them: one for each shape would take longer to compile.
        return jax.jit(cast, out_shardings=self._formats)(arrays)


class Packed(NamedTuple):
    """The weights of a network in few arrays.

    Attributes:
        vectors: those of one axis in float32, one after the other [N].
        others: the others, as they are.
    """

    vectors: Any
    others: list[Any]


def pack(variables: Mapping[str, Any]) -> Packed:
    """The arrays of a tree as `Packed`, in the order of its leaves."""
    leaves = jax.tree.leaves(variables)
    vectors = [leaf for leaf in leaves if _is_vector(leaf)]
    others = [leaf for leaf in leaves if not _is_vector(leaf)]
    return Packed(jnp.concatenate(vectors) if vectors else jnp.zeros(0), others)


def unpack(packed: Packed, like: Any) -> Any:
    """The tree of which `pack` made this; `like`: the tree of its `jax.ShapeDtypeStruct`s."""
    shapes, tree = jax.tree.flatten(like)
    ends = np.cumsum([leaf.size for leaf in shapes if _is_vector(leaf)][:-1])
    vectors, others = iter(jnp.split(packed.vectors, ends)), iter(packed.others)
    return jax.tree.unflatten(
        tree, [next(vectors if _is_vector(leaf) else others) for leaf in shapes]
    )


def _is_vector(leaf: Any) -> bool:
    return len(leaf.shape) == 1 and leaf.dtype == jnp.float32


def read_as(program: Jaxpr, variables: Any) -> Any:
    """The shapes of variables, each in the dtype to which a program converts it.

    A variable that is used in several dtypes, or as it is, keeps its own.

    Args:
        program: of which they are the first arguments.
        variables: `jax.ShapeDtypeStruct`s.
    """
    dtypes = _read_dtypes(program)
    leaves, tree = jax.tree.flatten(variables)
    read = []
    for leaf, var in zip(leaves, program.invars, strict=False):
        dtype = dtypes[var].pop() if len(dtypes[var]) == 1 else leaf.dtype
        read.append(jax.ShapeDtypeStruct(leaf.shape, dtype))
    return jax.tree.unflatten(tree, read)


def _read_dtypes(program: Jaxpr) -> dict[Any, set[Any]]:
    """For each variable of a program the dtypes that it is used in."""
    dtypes: dict[Any, set[Any]] = defaultdict(set)

    def add(var: Any, used: set[Any]) -> None:
        if not isinstance(var, Literal):
            dtypes[var] |= used

    for equation in program.eqns:
        if equation.primitive.name in _CALLS:
            inner = equation.params["jaxpr"]
            inner = getattr(inner, "jaxpr", inner)  # of those with constants, the program itself
            inside = _read_dtypes(inner)
            for var, argument in zip(equation.invars, inner.invars, strict=True):
                add(var, inside[argument])
        elif equation.primitive.name == "convert_element_type":
            add(equation.invars[0], {equation.params["new_dtype"]})
        else:
            for var in equation.invars:
                add(var, _own_dtype(var))
    for var in program.outvars:
        add(var, _own_dtype(var))
    return dtypes


def _own_dtype(var: Any) -> set[Any]:
    return {getattr(var.aval, "dtype", None)}


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _device_of(variables: Any) -> jax.sharding.SingleDeviceSharding:
    """Where the weights are; the first device for those of the host."""
    leaf = next(iter(jax.tree.leaves(variables)), None)
    devices = leaf.devices() if isinstance(leaf, jax.Array) else jax.devices()
    return jax.sharding.SingleDeviceSharding(next(iter(devices)))
