"""Devices to compile for without having them: JAX calls that a topology.

A GPU is described by its numbers (NVIDIA's data sheets), a TPU by the name of a slice; the
compilers come with `pip install "jax[cuda12]"` and `pip install "jax[tpu]"`.
"""

from collections.abc import MutableMapping
from typing import Any

import jax
from jax.experimental import topologies

_COMMON = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "shared_memory_per_block": 49152,
    "block_dim_limit_x": 2147483647,
    "block_dim_limit_y": 65535,
    "block_dim_limit_z": 65535,
    "registers_per_core_limit": 65536,
    "registers_per_block_limit": 65536,
}
# After the compute capability: multiprocessors, lanes in each, threads, shared memory (bytes; what
# a block may have), cache, memory (bytes, bytes/s), clock (GHz).
_GPU_FIELDS = (
    "core_count",
    "fpus_per_core",
    "threads_per_core_limit",
    "shared_memory_per_core",
    "shared_memory_per_block_optin",
    "l2_cache_size",
    "device_memory_size",
    "memory_bandwidth",
    "clock_rate_ghz",
)
_GPUS = {
    "H200": ((9, 0), 132, 128, 2048, 233472, 232448, 52428800, 150 * 10**9, 48 * 10**11, 1.98),
    "A100": ((8, 0), 108, 64, 2048, 167936, 166912, 41943040, 42 * 10**9, 15 * 10**11, 1.41),
    "T4": ((7, 5), 40, 64, 1024, 65536, 65536, 4194304, 15 * 10**9, 32 * 10**10, 1.59),
}
# A small slice of each, of which so many chips are used as asked for.
_TPUS = {"v5e": "v5e:2x4", "v6e": "v6e:2x4"}
NAMES = (*_GPUS, *_TPUS)


def platform(name: str) -> str:
    """'gpu' or 'tpu'."""
    return "gpu" if name in _GPUS else "tpu"


def prepare(environment: MutableMapping[str, str]) -> None:
    """Let JAX compile for devices that are not there; before it looks for those that are.

    Changes JAX's configuration of the whole process.

    Args:
      environment: `os.environ`.
    """
    jax.config.update("jax_platforms", "cpu")
    environment.setdefault("TPU_SKIP_MDS_QUERY", "1")  # nobody answers outside of Google's cloud
    environment.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no chip to quarrel about
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    environment.setdefault("TPU_STDERR_LOG_LEVEL", "3")


def get(name: str, count: int) -> list[Any]:
    """So many devices of a kind.

    Raises:
      ModuleNotFoundError: its compiler is not installed.
      ValueError: more than there are in the slice of TPUs.
    """
    if name in _TPUS:
        try:
            import libtpu  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f'{name} needs pip install "jax[tpu]"') from error
        topology = topologies.get_topology_desc(platform="tpu", topology_name=_TPUS[name])
        if count > len(topology.devices):
            raise ValueError(f"{_TPUS[name]} has {len(topology.devices)} devices, not {count}")
        return list(topology.devices[:count])
    try:
        topology = topologies.get_topology_desc(
            platform="cuda",
            topology_name=name,
            target_config=_target(name),
            topology=f"1x1x{count}",
        )
    except NotImplementedError as error:
        raise ModuleNotFoundError(f'{name} needs pip install "jax[cuda12]"') from error
    return list(topology.devices)


def _target(name: str) -> str:
    """XLA's description of a GPU, a protocol buffer in text."""
    (major, minor), *numbers = _GPUS[name]
    fields = _COMMON | dict(zip(_GPU_FIELDS, numbers, strict=True))
    lines = "\n".join(f"{field}: {number}" for field, number in fields.items())
    return f"""
        gpu_device_info {{ {lines} cuda_compute_capability {{ major: {major} minor: {minor} }} }}
        platform_name: "CUDA"
        dnn_version_info {{ major: 9 minor: 10 }}
        runtime_version {{ major: 12 minor: 9 }}
        device_description_str: "{name}"
    """
