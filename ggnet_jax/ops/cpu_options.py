"""Options of XLA's for programs on a CPU.

In bfloat16 a CPU with AMX (Intel's matrix unit) convolves up to ten times as fast as in float32, by
oneDNN's kernels, which XLA calls only where it is told to (benchmarks/results/cpu.md).
"""

import functools
from pathlib import Path

import jax

# jaxlib 0.10 has the options and no convolutions behind them.
_FIRST_JAX = (0, 11)
_ONEDNN = {"xla_cpu_use_onednn": True, "xla_cpu_experimental_onednn_custom_call": True}


def compiler_options(dtype: str, platform: str | None = None) -> dict[str, bool]:
    """What to give `jax.jit` as `compiler_options`.

    Args:
        dtype: in which the network convolves, `config.model.dtype`.
        platform: 'cpu' or another one that is compiled for; None for JAX's default.
    """
    fast = dtype == "bfloat16" and (platform or jax.default_backend()) == "cpu"
    return dict(_ONEDNN) if fast and jax.__version_info__ >= _FIRST_JAX and _has_amx() else {}


@functools.cache
def _has_amx() -> bool:
    """Whether the processor multiplies matrices of bfloat16, as Linux tells; else False."""
    path = Path("/proc/cpuinfo")
    return path.exists() and "amx_bf16" in path.read_text().split()
