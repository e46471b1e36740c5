"""Floating-point operations of a function's convolutions and matrix products.

XLA's own count (`cost_analysis`) takes the body of a loop once, however often it runs, and so
misses most of a deformable convolution, which works in blocks.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax


def count(function: Callable[..., Any], *arguments: Any) -> int:
    """Multiplications and additions of one call; arguments may be `jax.ShapeDtypeStruct`."""
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        output = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
        if name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            features = kernel[parameters["dimension_numbers"].rhs_spec[0]]
            total += 2 * output * math.prod(kernel) // features
        elif name == "dot_general":
            (contracted, _), _ = parameters["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * output * math.prod(left[axis] for axis in contracted)
        else:
            times = parameters["length"] if name == "scan" else 1
            total += times * sum(map(_count, _inner(parameters)))
    return total


def _inner(parameters: dict[str, Any]) -> Iterator[Any]:
    """The jaxprs that an equation calls."""
    for value in parameters.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            jaxpr = getattr(one, "jaxpr", one)
            if hasattr(jaxpr, "eqns"):
                yield jaxpr
