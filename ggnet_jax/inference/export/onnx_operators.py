"""ONNX's counterparts of the primitives that the network and its decoding are made of.

Each is a function of the graph, the equation and its operands. Everything that has its operands'
shape takes them in either order of axes; see `onnx_graph`.
"""

from typing import Any

import numpy as np

from ggnet_jax.inference.export.onnx_graph import (
    FIRST,
    LAST,
    Constant,
    Graph,
    Operand,
    Operator,
    Value,
    unsupported,
)

_KINDS = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9, "float64": 11}  # of ONNX


def _value(name: str, equation: Any, order: str = LAST, result: int = 0) -> Value:
    aval = equation.outvars[result].aval
    return Value(aval.shape, aval.dtype, {order: name})


def _order(operands: tuple[Operand, ...]) -> str:
    """Channels first if an operand is only to be had so."""
    only = any(isinstance(one, Value) and LAST not in one.names for one in operands)
    return FIRST if only else LAST


def _elementwise(operator: str, **attributes: Any) -> Any:
    def emit(graph: Graph, equation: Any, *operands: Operand) -> Value:
        order = _order(operands)
        names = [graph.read(one, order) for one in operands]
        return _value(graph.add(operator, *names, **attributes), equation, order)

    return emit


def _convert(graph: Graph, equation: Any, x: Operand, **_: Any) -> Value:
    kind = _KINDS[np.dtype(equation.params["new_dtype"]).name]
    return _elementwise("Cast", to=kind)(graph, equation, x)


def _max(graph: Graph, equation: Any, *operands: Operand) -> Value:
    x, y = operands
    if isinstance(y, Constant) and y.array.ndim == 0 and y.array == 0:
        return _elementwise("Relu")(graph, equation, x)
    return _elementwise("Max")(graph, equation, x, y)


def _not_equal(graph: Graph, equation: Any, *operands: Operand) -> Value:
    order = _order(operands)
    equal = graph.add("Equal", *(graph.read(one, order) for one in operands))
    return _value(graph.add("Not", equal), equation, order)


def _select(graph: Graph, equation: Any, which: Operand, *cases: Operand) -> Value:
    if equation.outvars[0].aval.dtype != bool:
        return _elementwise("Where")(graph, equation, which, *cases[::-1])
    # onnxruntime selects no booleans.
    numbers = [graph.add("Cast", graph.read(one), to=_KINDS["uint8"]) for one in cases[::-1]]
    chosen = graph.add("Where", graph.read(which), *numbers)
    return _value(graph.add("Cast", chosen, to=_KINDS["bool"]), equation)


def _same(graph: Graph, equation: Any, x: Operand) -> Operand:
    return x


# Convolution and pooling.


def _convolve(graph: Graph, equation: Any, x: Operand, kernel: Operand) -> Value:
    params = equation.params
    numbers = params["dimension_numbers"]
    last = (0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)
    if tuple(numbers) != last or params["lhs_dilation"] != (1, 1):
        unsupported(f"a convolution with {numbers}")
    y = graph.add(
        "Conv",
        graph.read(x, FIRST),
        _kernel(graph, kernel),
        strides=list(params["window_strides"]),
        pads=_pads(params["padding"]),
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    return _value(y, equation, FIRST)


def _kernel(graph: Graph, kernel: Operand) -> str:
    """[kh, kw, C, F] as ONNX wants it, [F, C, kh, kw]."""
    if isinstance(kernel, Constant):
        array = kernel.array.transpose(3, 2, 0, 1)
        return graph.array(array, array.dtype, kernel.name)
    return graph.add("Transpose", graph.read(kernel), perm=(3, 2, 0, 1))


def _pads(padding: Any) -> list[int]:
    """((top, bottom), (left, right)) -> [top, left, bottom, right]."""
    return [int(size) for side in zip(*padding, strict=True) for size in side]


def _matmul(graph: Graph, equation: Any, left: Operand, right: Operand) -> Value:
    """[..., C] and [C, F] -> [..., F], the convolution of a map smaller than the kernel."""
    last = len(equation.invars[0].aval.shape) - 1
    if equation.params["dimension_numbers"] != (((last,), (0,)), ((), ())):
        unsupported(f"a product over {equation.params['dimension_numbers']}")
    y = graph.add("MatMul", graph.read_whole(left), graph.read_whole(right))
    return _value(y, equation)


def _deform_conv(
    graph: Graph, equation: Any, x: Operand, offset: Operand, mask: Operand, kernel: Operand
) -> Value:
    """`deform_conv2d` at stride 1 that keeps the size, as all of the network's.

    ONNX wants offsets [B, 2 K, h, w] (dy, dx) and weights [B, K, h, w].
    """
    side = kernel.shape[:2]
    batch, height, width, points, _ = offset.shape
    offsets = graph.reshape(graph.read_whole(offset), (batch, height, width, 2 * points))
    y = graph.add(
        "DeformConv",
        graph.read(x, FIRST),
        _kernel(graph, kernel),
        graph.add("Transpose", offsets, perm=(0, 3, 1, 2)),
        "",
        graph.read_whole(mask, FIRST),
        kernel_shape=list(side),
        pads=[size // 2 for size in side] * 2,
        strides=[1, 1],
        dilations=[1, 1],
        group=1,
        offset_group=1,
    )
    return _value(y, equation, FIRST)


def _max_pool(graph: Graph, equation: Any, x: Operand) -> Value:
    params = equation.params
    pool = graph.add(
        "MaxPool",
        graph.read(x, FIRST),
        kernel_shape=list(params["window_dimensions"][1:3]),
        strides=list(params["window_strides"][1:3]),
        pads=_pads(params["padding"][1:3]),
    )
    return _value(pool, equation, FIRST)


# Shapes.


def _broadcast(graph: Graph, equation: Any, x: Operand) -> Operand:
    shape = equation.outvars[0].aval.shape
    axes = equation.params["broadcast_dimensions"]
    ones: list[Any] = [1] * len(shape)
    for axis, size in zip(axes, x.shape, strict=True):
        ones[axis] = size
    if isinstance(x, Constant):
        placed = x.array.reshape([1 if not isinstance(size, int) else size for size in ones])
        sizes = [size if isinstance(size, int) else 1 for size in shape]
        return Constant(np.broadcast_to(placed, sizes), shape, x.name)
    name = graph.reshape(graph.read(x), tuple(ones))
    if tuple(ones) != shape:
        name = graph.add("Expand", name, graph.shape(shape))
    return _value(name, equation)


def _reshape(graph: Graph, equation: Any, x: Operand) -> Value:
    shape = equation.outvars[0].aval.shape
    return _value(graph.reshape(graph.read_whole(x), shape), equation)


def _iota(graph: Graph, equation: Any) -> Constant:
    shape = equation.outvars[0].aval.shape
    axis = equation.params["dimension"]
    numbers = np.arange(shape[axis], dtype=equation.params["dtype"])
    placed = numbers.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    sizes = [size if isinstance(size, int) else 1 for size in shape]
    return Constant(np.broadcast_to(placed, sizes), shape)


def _concatenate(graph: Graph, equation: Any, *operands: Operand) -> Value:
    order, axis = _order(operands), equation.params["dimension"]
    if order == FIRST:
        axis = (0, 2, 3, 1)[axis]
    names = [graph.read_whole(one, order) for one in operands]
    return _value(graph.add("Concat", *names, axis=axis), equation, order)


def _stack(graph: Graph, equation: Any, *operands: Operand) -> Value:
    axis = equation.params["axis"]
    names = []
    for one in operands:
        shape = (*one.shape[:axis], 1, *one.shape[axis:])
        names.append(graph.reshape(graph.read_whole(one), shape))
    return _value(graph.add("Concat", *names, axis=axis), equation)


def _transpose(graph: Graph, equation: Any, x: Operand) -> Value:
    name = graph.add("Transpose", graph.read_whole(x), perm=equation.params["permutation"])
    return _value(name, equation)


def _pad(graph: Graph, equation: Any, x: Operand, value: Operand) -> Value:
    config = equation.params["padding_config"]
    if any(interior for _, _, interior in config):
        unsupported("padding between elements")
    pads = [low for low, _, _ in config] + [high for _, high, _ in config]
    name = graph.add("Pad", graph.read_whole(x), graph.array(pads), graph.read(value))
    return _value(name, equation)


def _slice(graph: Graph, equation: Any, x: Operand) -> Value:
    params = equation.params
    steps = params["strides"] or (1,) * len(x.shape)
    name = _cut(graph, x, params["start_indices"], params["limit_indices"], steps)
    return _value(name, equation)


def _cut(graph: Graph, x: Operand, starts: Any, limits: Any, steps: Any) -> str:
    """Slice where less than everything is wanted."""
    axes = [
        axis
        for axis, (size, start, limit, step) in enumerate(
            zip(x.shape, starts, limits, steps, strict=True)
        )
        if (start, limit, step) != (0, size, 1)
    ]
    bounds = [graph.array([int(part[axis]) for axis in axes]) for part in (starts, limits)]
    every = graph.array([int(steps[axis]) for axis in axes])
    return graph.add("Slice", graph.read_whole(x), *bounds, graph.array(axes), every)


def _reverse(graph: Graph, equation: Any, x: Operand) -> Value:
    name = graph.read_whole(x)
    for axis in equation.params["dimensions"]:
        numbers = graph.array(np.arange(x.shape[axis])[::-1])
        name = graph.add("Gather", name, numbers, axis=axis)
    return _value(name, equation)


def _gather(graph: Graph, equation: Any, x: Operand, index: Operand) -> Value:
    """A slice, elements along an axis, or rows of every image."""
    params = equation.params
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    mapped, collapsed = tuple(numbers.start_index_map), tuple(numbers.collapsed_slice_dims)
    batched = tuple(numbers.operand_batching_dims)
    rank = len(equation.outvars[0].aval.shape)
    whole = all(
        sizes[axis] == x.shape[axis]
        for axis in range(len(x.shape))
        if axis not in (*mapped, *batched)
    )
    if whole and isinstance(index, Constant) and index.array.ndim == 1 and not batched:
        starts = [0] * len(x.shape)
        for axis, start in zip(mapped, index.array, strict=True):
            starts[axis] = int(start)
        limits = [start + size for start, size in zip(starts, sizes, strict=True)]
        cut = _cut(graph, x, starts, limits, [1] * len(x.shape))
        return _value(graph.reshape(cut, equation.outvars[0].aval.shape), equation)
    leading = (*batched, *collapsed) == tuple(range(len(batched) + len(collapsed)))
    trailing = tuple(numbers.offset_dims) == tuple(range(rank))[rank - len(numbers.offset_dims) :]
    if whole and mapped == collapsed and leading and trailing:
        rows = graph.add("Cast", graph.read_whole(index), to=_KINDS["int64"])
        name = graph.add("GatherND", graph.read_whole(x), rows, batch_dims=len(batched))
        return _value(name, equation)
    one_axis = whole and len(mapped) == 1 and mapped == collapsed and not batched
    places = [i for i in range(rank) if i not in numbers.offset_dims]
    if one_axis and places == list(range(mapped[0], mapped[0] + len(places))):
        rows = graph.reshape(graph.read_whole(index), index.shape[:-1])
        return _value(graph.add("Gather", graph.read_whole(x), rows, axis=mapped[0]), equation)
    unsupported(f"a gather with {numbers}")


# Reductions and order.


def _reduce(operator: str) -> Any:
    def emit(graph: Graph, equation: Any, x: Operand) -> Value:
        axes = graph.array(equation.params["axes"])
        name = graph.add(operator, graph.read_whole(x), axes, keepdims=0)
        return _value(name, equation)

    return emit


def _any(graph: Graph, equation: Any, x: Operand) -> Value:
    number = graph.add("Cast", graph.read_whole(x), to=_KINDS["int32"])
    most = graph.add("ReduceMax", number, graph.array(equation.params["axes"]), keepdims=0)
    return _value(graph.add("Cast", most, to=_KINDS["bool"]), equation)


def _argmax(graph: Graph, equation: Any, x: Operand) -> Value:
    (axis,) = equation.params["axes"]
    place = graph.add("ArgMax", graph.read_whole(x), axis=axis, keepdims=0)
    return _value(graph.add("Cast", place, to=_KINDS["int32"]), equation)


def _top_k(graph: Graph, equation: Any, x: Operand) -> tuple[Value, Value]:
    """Of equal values the first comes first, in ONNX as in JAX."""
    count, axis = graph.array([equation.params["k"]]), equation.params["axis"]
    values, places = graph.add("TopK", graph.read_whole(x), count, outputs=2, axis=axis)
    places = graph.add("Cast", places, to=_KINDS["int32"])
    return _value(values, equation), _value(places, equation, result=1)


def _sort(graph: Graph, equation: Any, keys: Operand, *others: Operand) -> list[Value]:
    if equation.params["num_keys"] != 1:
        unsupported("sorting by several keys")
    axis = equation.params["dimension"]
    count = graph.array([keys.shape[axis]])
    values, places = graph.add(
        "TopK", graph.read_whole(keys), count, outputs=2, axis=axis, largest=0
    )
    names = [values]
    for other in others:
        names.append(graph.add("GatherElements", graph.read_whole(other), places, axis=axis))
    return [_value(name, equation, result=i) for i, name in enumerate(names)]


_ELEMENTWISE = {
    "abs": _elementwise("Abs"),
    "add": _elementwise("Add"),
    "and": _elementwise("And"),
    "convert_element_type": _convert,
    "div": _elementwise("Div"),
    "eq": _elementwise("Equal"),
    "ge": _elementwise("GreaterOrEqual"),
    "gt": _elementwise("Greater"),
    "le": _elementwise("LessOrEqual"),
    "logistic": _elementwise("Sigmoid"),
    "lt": _elementwise("Less"),
    "max": _max,
    "min": _elementwise("Min"),
    "mul": _elementwise("Mul"),
    "ne": _not_equal,
    "neg": _elementwise("Neg"),
    "not": _elementwise("Not"),
    "or": _elementwise("Or"),
    "rem": _elementwise("Mod", fmod=1),
    "select_n": _select,
    "sign": _elementwise("Sign"),
    "sub": _elementwise("Sub"),
}
_OTHERS = {
    "argmax": _argmax,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolve,
    "copy": _same,
    "dot_general": _matmul,
    "gather": _gather,
    "iota": _iota,
    "pad": _pad,
    "reduce_max": _reduce("ReduceMax"),
    "reduce_or": _any,
    "reduce_prod": _reduce("ReduceProd"),
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_window_max": _max_pool,
    "reshape": _reshape,
    "rev": _reverse,
    "slice": _slice,
    "sort": _sort,
    "squeeze": _reshape,
    "stack": _stack,
    "stop_gradient": _same,
    "top_k": _top_k,
    "transpose": _transpose,
    "jit deform_conv2d_on_any": _deform_conv,  # of ops.deform_conv
}
OPERATORS = {name: Operator(emit, elementwise=True) for name, emit in _ELEMENTWISE.items()}
OPERATORS |= {name: Operator(emit) for name, emit in _OTHERS.items()}
