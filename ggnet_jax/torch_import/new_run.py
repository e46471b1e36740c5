"""A PyTorch checkpoint -> the workdir of a run at step 0; `main.py --mode=import`."""

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from ggnet_jax import vocabularies
from ggnet_jax.config import check_config, resolve_config
from ggnet_jax.errors import UserError
from ggnet_jax.io import DRAFT
from ggnet_jax.models import create_model
from ggnet_jax.run_dir import folder as run_folder
from ggnet_jax.run_dir.checkpoints import Checkpoints
from ggnet_jax.torch_import.architecture import describe
from ggnet_jax.torch_import.convert import clean, convert, pretrained
from ggnet_jax.torch_import.files import read
from ggnet_jax.torch_import.report import Report


def import_checkpoint(checkpoint: str | Path, config: Any, workdir: str | Path) -> Report:
    """Write a PyTorch checkpoint as step 0 of a new run, and print a report on its parameters.

    A detector of CenterNet's gets interaction heads with initial values, which have to be trained;
    every other file has to be the network of `config.model` exactly.

    Args:
        checkpoint: the `.pth` file.
        config: a ConfigDict; the classes are `config.data.vocabulary`'s or, if that is empty, the
            data set's of the name `config.data.name`.
        workdir: a new or empty folder. It appears once everything is written.

    Raises:
        UserError: the file, the config or the folder can't be used; nothing has been written then.
    """
    target = Path(workdir).resolve()
    if run_folder.is_run(target):
        raise UserError(f"{workdir} already holds a run; give a new folder")
    run_folder.check_folder(target)
    check_config(config)
    vocabulary = _vocabulary(config)
    config = resolve_config(config, vocabulary)
    arrays, place = read(checkpoint)
    found = describe(clean(arrays))
    print(f"{checkpoint}{f', {place!r}' if place else ''}: {found}")
    if found.num_verbs:
        variables, report = convert(arrays, config.model)
    else:
        variables, report = pretrained(arrays, config.model)
        variables = _initialize_gaps(variables, config)
    del arrays  # mapped from the disk: hundreds of megabytes
    print(report.table())
    # Without a data set the pairs seen in training are not known; all classes stand in.
    classes = vocabulary.to_dict() | {"verbs_of_object": vocabulary.valid_pairs.T.tolist()}
    _write(target, config.to_dict(), classes, variables)
    print(f"wrote {workdir}")
    if report.missing:
        print(f"{len(report.missing)} parameters start afresh: train before you use the network")
    return report


def _vocabulary(config: Any) -> vocabularies.Vocabulary:
    name = config.data.vocabulary or config.data.name
    if not name or name == "json":
        raise UserError(
            "the config does not say which classes the network knows; "
            "give --config.data.vocabulary=FILE.json"
        )
    return vocabularies.load(name)


def _initialize_gaps(variables: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """The variables of `pretrained` with initial values where the file had none.

    Only the gaps are returned from the compiled function, so that no time goes into the rest.
    """
    model = create_model(config.model)
    flat: dict[Any, Any] = traverse_util.flatten_dict(dict(variables))
    gaps = [path for path, leaf in flat.items() if isinstance(leaf, jax.ShapeDtypeStruct)]

    def initialize() -> list[jax.Array]:
        images = jnp.zeros((1, *config.data.image_size, 3))
        initial = model.init(jax.random.key(config.seed, impl="rbg"), images, train=False)
        values: dict[Any, Any] = traverse_util.flatten_dict(initial)
        return [values[path] for path in gaps]

    values = dict(zip(gaps, map(np.asarray, jax.jit(initialize)()), strict=True))
    return traverse_util.unflatten_dict(flat | values)


def _write(target: Path, config: dict, classes: dict, variables: Mapping[str, Any]) -> None:
    """Write a run beside `target` and move it there in one step."""
    draft = target.with_name(target.name + DRAFT)
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        shutil.rmtree(draft, ignore_errors=True)
        _check_space(target, variables)
        run_folder.prepare(draft, config, classes)
        with Checkpoints(draft) as checkpoints:
            checkpoints.save(0, variables, {"step": np.zeros((), np.int32)})
        if target.is_dir():
            target.rmdir()  # empty: a rename onto it is refused on some systems
        draft.rename(target)
    except UserError:
        raise
    except (OSError, ValueError) as error:  # Orbax's threads raise a ValueError for a full disk
        full = "No space left" in str(error) or "File too large" in str(error)
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0][-200:]
        raise UserError(
            f"cannot write {target}: {'No space left on device' if full else reason}"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if not target.exists():
            with contextlib.suppress(OSError):  # one that is not empty stays
                for folder in made:
                    folder.rmdir()


def _check_space(target: Path, variables: Mapping[str, Any]) -> None:
    """Raise a UserError if the variables will not fit on the disk; Orbax would talk for pages."""
    place = next(folder for folder in target.parents if folder.exists())
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(variables))
    usage = shutil.disk_usage(place)
    free = usage.free if usage.total else needed  # some file systems do not know
    if free < needed:
        raise UserError(
            f"cannot write {target}: No space left on device, "
            f"{needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB free"
        )
