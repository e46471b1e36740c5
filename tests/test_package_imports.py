"""What each part of the package loads: the evaluators no JAX, inference no training code."""

import ast
import json
import pkgutil
import sys
from pathlib import Path

import pytest
from subprocesses import run_python

import ggnet_jax

PACKAGE = Path(ggnet_jax.__file__).parent
HEAVY = {
    "absl",
    "data_pipelines",
    "flax",
    "jax",
    "jaxlib",
    "matplotlib",
    "ml_collections",
    "optax",
    "orbax",
    "PIL",
    "scipy",
    "tensorflow",
    "torch",
    "tqdm",
}


def modules_of(package: str) -> list[str]:
    """A package's own name and that of every module in it."""
    folder = PACKAGE.joinpath(*package.split(".")[1:])
    found = pkgutil.walk_packages([str(folder)], f"{package}.")
    return [package, *(module.name for module in found)]


def loaded_by(modules: list[str]) -> set[str]:
    """The names of all modules in a fresh interpreter that has imported these."""
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps(list(sys.modules)))"
    done = run_python("-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("package", ["ggnet_jax.evaluation", "ggnet_jax.vocabularies"])
def test_evaluating_needs_numpy_alone(package):
    loaded = loaded_by(modules_of(package))
    assert loaded >= {"numpy", *modules_of(package)}
    assert not {name.partition(".")[0] for name in loaded} & HEAVY


def test_files_need_the_standard_library_alone():
    loaded = {name.partition(".")[0] for name in loaded_by(["ggnet_jax.io", "ggnet_jax.table"])}
    assert not loaded & {"numpy", *HEAVY}
    # The interpreter's own start may load modules of site-packages, `ggnet_jax.io` none.
    before = {name.partition(".")[0] for name in loaded_by(["ggnet_jax"])}
    assert loaded - before <= sys.stdlib_module_names


@pytest.mark.parametrize("package", ["ops", "models", "inference", "run_dir", "visualize"])
def test_inference_needs_neither_training_nor_tensorflow(package):
    loaded = loaded_by(modules_of(f"ggnet_jax.{package}"))
    forbidden = (
        "data_pipelines", "ggnet_jax.cli", "ggnet_jax.torch_import", "ggnet_jax.training",
        "matplotlib.pyplot", "ml_collections", "optax", "tensorflow",
    )  # fmt: skip
    assert [name for name in forbidden if name in loaded] == []


def test_the_package_imports_nothing_from_around_it():
    """Data sets, configurations and benchmarks use it, not the other way round."""
    around = {"benchmarks", "configs", "data_pipelines", "main", "tests"}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            assert not {name.partition(".")[0] for name in names} & around, path
