"""Run by test_compilation_cache.py: main.py, and then what JAX asked its cache for.

Usage: count_compilations.py FLAGS_OF_MAIN
"""

import collections
import json
import runpy

import jax

counts: collections.Counter[str] = collections.Counter()


def count(event: str, **_) -> None:
    """Note one of JAX's events."""
    counts[event.rpartition("/")[2]] += 1


jax.monitoring.register_event_listener(count)
try:
    runpy.run_path("main.py", run_name="__main__")
except SystemExit as end:
    if end.code:
        raise
print(json.dumps({"folder": jax.config.values["jax_compilation_cache_dir"], **counts}))
