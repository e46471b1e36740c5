"""A jaxpr -> a graph of ONNX nodes, for what `onnx_operators` has operators for.

The network is translated from the program that JAX traces, so that ONNX gets whatever the modules
compute. What depends on weights and constants alone is computed here. JAX keeps channels last and
ONNX convolves with channels first: a value is kept in the order in which it comes, and transposed
once if it is needed in the other.

No ONNX is imported before `Graph.to_model`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from ggnet_jax.errors import UserError

OPSET = 22  # the first with DeformConv as onnxruntime has it
IR_VERSION = 10

LAST, FIRST = "channels last", "channels first"
_TO_FIRST, _TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)

Shape = tuple[Any, ...]  # of integers and, for the batch, a symbol


@dataclasses.dataclass
class Value:
    """What a node computes.

    Attributes:
        shape: as JAX has it.
        dtype: alike.
        names: of the tensor that holds it, by the order of its axes; `FIRST` only of images.
    """

    shape: Shape
    dtype: np.dtype
    names: dict[str, str]


@dataclasses.dataclass
class Constant:
    """What is known without images.

    Attributes:
        array: of size 1 along the batch, if `shape` has one.
        shape: as JAX has it.
        name: of the weight it is, for people who look into the file.
    """

    array: np.ndarray
    shape: Shape
    name: str = ""


Operand = Value | Constant


@dataclasses.dataclass
class Node:
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


class Graph:
    """Nodes in order, and the arrays that they read."""

    def __init__(self, images: str, shape: Shape, dtype: Any):
        """Begin with the graph's only input.

        Args:
            images: its name.
            shape: [batch, ...], the first a symbol.
            dtype: of NumPy.
        """
        self.nodes: list[Node] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.images = Value(shape, np.dtype(dtype), {LAST: images})
        self._small: dict[Any, str] = {}
        self._batch = ""

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Append a node; the name of its output, or of each of several."""
        names = [f"{operator}_{len(self.nodes)}{f'_{i}' if i else ''}" for i in range(outputs)]
        self.nodes.append(Node(operator, list(inputs), names, attributes))
        return names[0] if outputs == 1 else names

    def array(self, value: Any, dtype: Any = np.int64, name: str = "") -> str:
        """The name of an array that is stored in the file; equal small ones are stored once."""
        value = np.asarray(value, dtype)
        key = (value.dtype.str, value.shape, value.tobytes()) if value.size <= 64 else None
        if key is None or key not in self._small:
            if not name or name in self.arrays:
                name = f"{name or 'constant'}_{len(self.arrays)}"
            self.arrays[name] = value
            if key is None:
                return name
            self._small[key] = name
        return self._small[key]

    def read(self, operand: Operand, order: str = LAST) -> str:
        """The name of a tensor that holds an operand, constants with size 1 along the batch."""
        if isinstance(operand, Constant):
            array = operand.array
            if order == FIRST and array.ndim == 4:
                array = array.transpose(_TO_FIRST)
            return self.array(array, array.dtype, operand.name)
        if order not in operand.names:
            (given,) = operand.names.values()
            axes = _TO_FIRST if order == FIRST else _TO_LAST
            operand.names[order] = self.add("Transpose", given, perm=axes)
        return operand.names[order]

    def read_whole(self, operand: Operand, order: str = LAST) -> str:
        """`read`, constants too in their full shape."""
        name = self.read(operand, order)
        if isinstance(operand, Constant) and operand.array.shape != operand.shape:
            shape = operand.shape
            if order == FIRST:
                shape = tuple(shape[axis] for axis in _TO_FIRST)
            name = self.add("Expand", name, self.shape(shape))
        return name

    def shape(self, shape: Shape) -> str:
        """The name of a tensor that holds a shape."""
        if all(isinstance(size, int) for size in shape):
            return self.array(shape)
        if not self._batch:
            self._batch = self.add("Shape", self.images.names[LAST], start=0, end=1)
        sizes = [self.array([s]) if isinstance(s, int) else self._batch for s in shape]
        return self.add("Concat", *sizes, axis=0)

    def reshape(self, name: str, shape: Shape) -> str:
        """Reshape a tensor."""
        sizes = [size if isinstance(size, int) else -1 for size in shape]
        return self.add("Reshape", name, self.array(sizes))

    def to_model(self, outputs: Mapping[str, Operand], description: str) -> Any:
        """The whole as an `onnx.ModelProto` whose outputs have these names."""
        import onnx
        from onnx import helper, numpy_helper

        def described(name: str, value: Operand, dtype: Any) -> Any:
            sizes = [size if isinstance(size, int) else str(size) for size in value.shape]
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            return helper.make_tensor_value_info(name, kind, sizes)

        results = []
        for name, value in outputs.items():
            self.nodes.append(Node("Identity", [self.read_whole(value)], [name], {}))
            dtype = value.array.dtype if isinstance(value, Constant) else value.dtype
            results.append(described(name, value, dtype))
        images = described(self.images.names[LAST], self.images, self.images.dtype)
        read = {name for node in self.nodes for name in node.inputs}
        graph = helper.make_graph(
            [
                helper.make_node(node.operator, node.inputs, node.outputs, **node.attributes)
                for node in self.nodes
            ],
            "ggnet",
            [images],
            results,
            [numpy_helper.from_array(a, name) for name, a in self.arrays.items() if name in read],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="ggnet_jax",
            doc_string=description,
        )
        onnx.checker.check_model(model, full_check=True)
        return model


class Operator(NamedTuple):
    """How a primitive is translated.

    Attributes:
        emit: function of the graph, the equation and its operands; returns its result or results.
        elementwise: whether results have the operands' shape, and so may wait for the batch.
    """

    emit: Callable[..., Operand | Sequence[Operand]]
    elementwise: bool = False


def unsupported(what: str) -> NoReturn:
    """Raise the UserError for what has no counterpart."""
    raise UserError(f"the export to ONNX has no counterpart of {what}; use --format=stablehlo")


def translate(
    graph: Graph,
    program: ClosedJaxpr,
    arguments: Sequence[Operand],
    operators: Mapping[str, Operator],
) -> list[Operand]:
    """Append a program to a graph.

    Args:
        graph: to append to.
        program: what to compute.
        arguments: of the program.
        operators: by the names of JAX's primitives, and "jit NAME" for jitted functions that are
            not to be looked into.

    Returns:
        The results.

    Raises:
        UserError: the program has a primitive that `operators` has not.
    """
    jaxpr = program.jaxpr
    known: dict[Any, Operand] = dict(zip(jaxpr.invars, arguments, strict=True))
    for var, array in zip(jaxpr.constvars, program.consts, strict=True):
        known[var] = constant(array)

    def operand(var: Any) -> Operand:
        return constant(var.val) if isinstance(var, Literal) else known[var]

    for equation in _needed(jaxpr):
        operands = [operand(var) for var in equation.invars]
        results = _results(graph, equation, operands, operators)
        known.update(zip(equation.outvars, results, strict=True))
    return [operand(var) for var in jaxpr.outvars]


def constant(array: Any, name: str = "") -> Constant:
    """An array of NumPy's or JAX's, or a number, as a constant."""
    array = np.asarray(array)
    return Constant(array, array.shape, name)


def _needed(jaxpr: Jaxpr) -> list[Any]:
    """The equations that the results depend on."""
    needed = _variables(jaxpr.outvars)
    equations = []
    for equation in reversed(jaxpr.eqns):
        if needed & set(equation.outvars):
            needed |= _variables(equation.invars)
            equations.append(equation)
    return equations[::-1]


def _variables(operands: Sequence[Any]) -> set[Any]:
    return {var for var in operands if not isinstance(var, Literal)}


def _results(
    graph: Graph, equation: Any, operands: Sequence[Operand], operators: Mapping[str, Operator]
) -> Sequence[Operand]:
    """What an equation computes: here if it can be, else by nodes."""
    inner = _inner(equation)
    name = f"jit {equation.params.get('name')}" if inner else equation.primitive.name
    if inner and name not in operators:
        return translate(graph, inner, operands, operators)
    constants = [one.array for one in operands if isinstance(one, Constant)]
    sizes = [size for var in equation.outvars for size in var.aval.shape]
    operator = operators.get(name)
    if len(constants) == len(operands) and (
        all(isinstance(size, int) for size in sizes) or (operator and operator.elementwise)
    ):
        found = equation.primitive.bind(*constants, **equation.params)
        arrays = map(np.asarray, jax.tree.leaves(found))
        return [Constant(a, v.aval.shape) for a, v in zip(arrays, equation.outvars, strict=True)]
    if operator is None:
        unsupported(f"JAX's operation {name!r}")
    found = operator.emit(graph, equation, *operands)
    return [found] if isinstance(found, Value | Constant) else found


def _inner(equation: Any) -> ClosedJaxpr | None:
    """The program that an equation calls once with its own operands."""
    for key in ("jaxpr", "call_jaxpr"):
        inner = equation.params.get(key)
        if isinstance(inner, Jaxpr):
            return ClosedJaxpr(inner, ())
        if isinstance(inner, ClosedJaxpr):
            return inner
    return None
