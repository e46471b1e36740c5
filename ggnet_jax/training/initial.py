"""Starting from weights that were trained elsewhere: `config.init_from`.

The paper starts from CenterNet's detectors of COCO's objects (section 4). What is taken of a
network with other classes or layers is decided in `training.transfer`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import traverse_util

from ggnet_jax import vocabularies
from ggnet_jax.config import ModelConfig, frozen_modules
from ggnet_jax.dataset import Dataset
from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import best, checkpoints
from ggnet_jax.run_dir import folder as run_folder
from ggnet_jax.torch_import import files, kinds
from ggnet_jax.torch_import.architecture import Architecture
from ggnet_jax.torch_import.convert import expected_variables, network_of
from ggnet_jax.training.state import TrainState
from ggnet_jax.training.transfer import Source, Transfer, fill, transfer
from ggnet_jax.vocabularies import Vocabulary

# What `kinds` calls a folder that may have been meant as a workdir.
_NO_RUN = ("a folder", "the workdir of a run")
# Networks whose only object is the person, as `Architecture.task` begins.
_PEOPLE = ("CenterNet's human pose detector", "FairMOT's tracker")


def initial_weights(
    config: Any,
    vocabulary: Vocabulary,
    workdir: str | Path,
    start: int | None = None,
    *,
    say: bool = True,
) -> dict[str, Any] | None:
    """Read what `config.init_from` has of the network, and print what came from where.

    Args:
        config: resolved. `init_from` is a PyTorch file, the workdir of a run (its best checkpoint,
            if it chose one, else its newest), or `WORKDIR/checkpoints/STEP`, also with `best` for
            the step.
        vocabulary: our classes.
        workdir: of the run that starts.
        start: the step of its checkpoint to go on from. It has weights of its own then, and
            nothing is read.
        say: print the table.

    Returns:
        What `put_initial_weights` takes; None for initial values.

    Raises:
        UserError: there is no such file or run, it cannot be read, it is the run in `workdir`
            itself, or nothing of it can be taken.
    """
    frozen = frozen_modules(config.freeze)
    if not config.init_from:
        if frozen and start is None and say:
            print(
                f"note: config.freeze={config.freeze} keeps initial, random values: there is no "
                "config.init_from to start from"
            )
        return None
    folder, step = _workdir_and_step(Path(config.init_from))
    if folder.resolve() == Path(workdir).resolve():
        raise UserError(
            f"config.init_from={config.init_from} is the workdir itself, whose run goes on without "
            "it; leave config.init_from out, or give a new --workdir"
        )
    if start is not None:
        if say:
            print(f"config.init_from is not read again: the run goes on from its step {start}")
        return None
    ours = ModelConfig.from_fields(config.model)
    try:
        is_run = run_folder.is_run(folder)
        source = _read_run(folder, step) if is_run else _read_file(config.init_from, ours)
    except OSError as error:  # a folder that may not be entered, a name that is too long
        raise UserError(
            f"cannot read config.init_from={config.init_from}: {error.strerror or error}"
        ) from error
    found = transfer(source, ours, expected_variables(ours), vocabulary)
    if found.is_empty():
        reasons = dict.fromkeys(layer.why for layer in found.layers)
        raise UserError(
            f"nothing of {source.title} has a place in this network ({', '.join([*reasons][:3])}); "
            "give another config.init_from, or the config.model that it was trained with"
        )
    if say:
        print("\n".join([f"starting from {source.title}", found.table(), *source.notes]))
        for line in _frozen_and_fresh(found, frozen):
            print(line)
    return found.variables


def note_on_validation(config: Any, dataset: Dataset) -> list[str]:
    """A line where the run in `config.init_from` may have seen images of the validation split.

    Args:
        config: resolved.
        dataset: of the run that starts.
    """
    if not config.init_from or not getattr(dataset, "val_split", "") or not dataset.num_held_out:
        return []
    folder, _ = _workdir_and_step(Path(config.init_from))
    if not run_folder.is_run(folder):
        return []
    theirs, ours = run_folder.read_config(folder).get("data", {}), config.data.to_dict()
    held_out = ("train_annotations", "train_split", "val_split", "val_seed", "val_annotations")
    if any(theirs.get(field) != ours[field] for field in ("name", "train_images")):
        return []
    if all(theirs.get(field) == ours[field] for field in held_out):
        return []
    return [
        f"note: the run in {folder} has trained on images of the same data set, and some of them "
        "may be in the validation split now, where figures are then too good; "
        "config.data.val_annotations can name images that it has not seen"
    ]


def put_initial_weights(state: TrainState, variables: dict[str, Any]) -> TrainState:
    """A fresh state with the weights of `initial_weights` in it."""
    return state.replace(
        params=fill(variables["params"], state.params),
        batch_stats=fill(variables["batch_stats"], state.batch_stats),
    )


def _workdir_and_step(path: Path) -> tuple[Path, checkpoints.Step]:
    """What a path means if it means a run: its workdir, and a step if it names one."""
    if path.parent.name == run_folder.CHECKPOINTS:
        if path.name == best.BEST:
            return path.parent.parent, best.BEST
        if re.fullmatch(r"0|[1-9]\d*", path.name):
            return path.parent.parent, int(path.name)
    return (path.parent if path.name == run_folder.CHECKPOINTS else path), None


def _read_run(workdir: Path, step: checkpoints.Step) -> Source:
    """The network of a run; in one with an average of the weights, that."""
    try:
        config = ModelConfig.from_fields(run_folder.read_config(workdir).model)
        classes = Vocabulary.from_dict(run_folder.read_vocabulary(workdir))
    except UserError as error:
        raise UserError(f"config.init_from={workdir}: {error}") from None
    if step is None and best.step_of(workdir) is not None:
        step = best.BEST
    variables, number = checkpoints.load_variables(workdir, step)
    if (config.num_verbs, config.num_objects) != (classes.num_verbs, classes.num_objects) or (
        _shapes(variables) != _shapes(expected_variables(config))
    ):
        raise UserError(
            f"config.init_from={workdir}: checkpoint {number} is not of the network and classes in "
            f"{run_folder.CONFIG} and {run_folder.VOCABULARY}; restore the files of its run"
        )
    which = f"the best, step {number}" if step == best.BEST else f"step {number}"
    network = Architecture(
        config.backbone,
        config.stacks,
        config.gaze_steps,
        config.per_verb_offsets,
        config.num_objects,
        config.num_verbs,
        "",
    )
    return Source(
        f"{workdir}, {which}: {network}",
        config,
        traverse_util.flatten_dict(variables),
        classes.objects,
        classes.verbs,
    )


def _shapes(variables: Mapping[str, Any]) -> dict[tuple[str, ...], tuple[int, ...]]:
    flat: dict[Any, Any] = traverse_util.flatten_dict(dict(variables))
    return {path: tuple(leaf.shape) for path, leaf in flat.items()}


def _read_file(path: str, ours: ModelConfig) -> Source:
    """The network in a PyTorch file, with the classes that released networks have."""
    give = "give the workdir of a run, or a PyTorch file"
    if not Path(path).exists():
        raise UserError(f"config.init_from={path}: there is no file or folder of that name; {give}")
    if Path(path).is_dir() and kinds.of_folder(Path(path))[0] in _NO_RUN:
        raise UserError(
            f"config.init_from={path} is a folder without a run ({run_folder.CONFIG} is missing); "
            f"{give}"
        )
    variables, config, found, report = network_of(files.read_state_dict(path), ours)
    arrays = {
        leaf_path: leaf
        for leaf_path, leaf in traverse_util.flatten_dict(variables).items()
        if hasattr(leaf, "__array__")
    }
    objects, verbs, notes = _released_classes(found)
    return Source(f"{path}: {found}", config, arrays, objects, verbs, (*notes, *report.notes))


def _released_classes(
    found: Architecture,
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None, list[str]]:
    """Objects and verbs of a released network by their numbers, and what was taken for granted."""
    hico = vocabularies.load("hico_det")
    objects = verbs = None
    notes = []
    if found.num_objects == hico.num_objects:
        objects = hico.objects
        notes.append(f"its {hico.num_objects} objects are taken to be COCO's")
        for known, name in ((hico, "HICO-DET"), (vocabularies.load("v_coco"), "V-COCO")):
            if found.num_verbs == known.num_verbs:
                verbs = known.verbs
                notes.append(f"its {len(verbs)} verbs are taken to be {name}'s")
    elif found.num_objects == 1 and found.task.startswith(_PEOPLE):
        objects = hico.objects[:1]
    return objects, verbs, notes


def _frozen_and_fresh(found: Transfer, frozen: tuple[str, ...]) -> list[str]:
    """A line for what was frozen before it could learn anything."""
    parts = found.fresh(frozen)
    if not parts:
        return []
    return [
        f"note: config.freeze={','.join(frozen)} keeps the initial, random values of what starts "
        f"fresh in {', '.join(parts)}"
    ]
