"""What lies in a run's folder, its workdir.

    config.json       the resolved configuration
    vocabulary.json   the classes, and the pairs of an object and a verb that occur in training
    run.lock          while it trains: which process on which host; see `run_dir.lock`
    checkpoints/      one folder a step; see `run_dir.checkpoints`
    best.json         which of them was chosen, by what; see `run_dir.best`
    log.jsonl         losses of logged steps, figures of evaluations, one JSON object a line
    tensorboard/      the same, for TensorBoard
    wandb.json        the id of the run at Weights & Biases, with config.wandb
    evaluation/       predictions, metrics, table and plots of the last evaluation on the run's own
                      split; a folder inside for each other set, protocol or older checkpoint
    pictures/         drawings: examples of the evaluation split, learning curves
    examples/         the images of these, not drawn on, which --mode=serve offers
    predictions/      what --mode=predict found, where no other folder was given

Training writes the first two before anything else; with the checkpoints they are all that
inference needs. No TensorFlow and no ml_collections here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ggnet_jax import io
from ggnet_jax.config import without_retired_fields
from ggnet_jax.errors import UserError

CONFIG = "config.json"
VOCABULARY = "vocabulary.json"
LOCK = "run.lock"
CHECKPOINTS = "checkpoints"
LOG = "log.jsonl"
TENSORBOARD = "tensorboard"
EVALUATION = "evaluation"
DRAWINGS = "pictures"
EXAMPLES = "examples"
PREDICTIONS = "predictions"
# Fields of `config.model` that no weight depends on: how the network computes.
_COMPUTATION = frozenset({"model.dtype", "model.remat"})
_RESTORE = "restore that file, or use a new --workdir"


class Fields(dict):
    """A configuration without ml_collections: `config.model.stacks` or `config["model"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the configuration has no field {name!r}") from None


def is_run(workdir: str | Path) -> bool:
    """Whether a run was ever started in this folder."""
    return (Path(workdir) / CONFIG).is_file()


def require_run(workdir: str | Path) -> None:
    """Raise a UserError unless `workdir` is the folder of a run."""
    workdir = Path(workdir)
    if is_run(workdir):
        return
    if workdir.is_file():
        raise UserError(f"the workdir {workdir} is a file; give the folder of the run, --workdir")
    if not workdir.is_dir():
        raise UserError(f"the workdir {workdir} does not exist; train first, or check --workdir")
    raise UserError(f"the workdir {workdir} holds no run ({CONFIG} is missing); check --workdir")


def read_config(workdir: str | Path) -> Fields:
    """The resolved configuration of a run; lists come back as tuples.

    Fields of the network that are retired since the run began are left out.

    Raises:
        UserError: the folder holds no run, or its file cannot be read.
    """
    config = _fields(_read(workdir, CONFIG))
    sections = [name for name in ("model", "data", "eval", "loss") if name in config]
    for name in sections:
        if not isinstance(config[name], Mapping):
            raise UserError(f"{Path(workdir) / CONFIG}: {name!r} is not a JSON object; {_RESTORE}")
    if "model" not in config:
        raise UserError(f"{Path(workdir) / CONFIG} has no 'model'; {_RESTORE}")
    config["model"] = Fields(without_retired_fields(config["model"]))
    return config


def read_vocabulary(workdir: str | Path) -> dict[str, Any]:
    """vocabulary.json: `Vocabulary.to_dict()` and `verbs_of_object`, [O][V] booleans.

    Raises:
        UserError: the folder holds no run, or its file cannot be read.
    """
    return _read(workdir, VOCABULARY)


def check_folder(workdir: str | Path) -> None:
    """Raise a UserError unless a run may start or go on in `workdir`, which need not exist."""
    workdir = Path(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"the workdir {workdir} is a file; give a folder")
    for name in (CONFIG, VOCABULARY):
        if (workdir / name).is_dir():
            raise UserError(f"{workdir / name} is a folder; a run has a file there")
    if not workdir.is_dir() or is_run(workdir):
        return
    # Another process of this run may be writing the two files just now.
    own = {CONFIG, VOCABULARY, CONFIG + io.DRAFT, VOCABULARY + io.DRAFT, LOCK}
    foreign = sorted(entry.name for entry in workdir.iterdir() if entry.name not in own)
    if foreign and not is_run(workdir):
        raise UserError(
            f"the workdir {workdir} holds files that no run made ({foreign[0]}); "
            "give a new or empty folder"
        )


def prepare(
    workdir: str | Path,
    config: Mapping[str, Any],
    vocabulary: Mapping[str, Any],
    *,
    write: bool = True,
) -> list[str]:
    """Make a folder ready to train in, or check that the run in it may go on.

    Args:
        workdir: a new or empty folder, or that of an earlier run.
        config: the resolved configuration.
        vocabulary: what vocabulary.json is to hold.
        write: False in all processes but the first, which only check.

    Returns:
        One line for each field that differs from the run so far; empty for a new one.

    Raises:
        UserError: the folder holds foreign files, or a run whose network or vocabulary is not the
            one asked for.
    """
    workdir = Path(workdir)
    check_folder(workdir)
    changes = _check_same_run(workdir, config, vocabulary) if is_run(workdir) else []
    if write:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the workdir {workdir}: {error.strerror}") from error
        io.write_json(workdir / CONFIG, config)
        io.write_json(workdir / VOCABULARY, vocabulary)
    return changes


def check_model(workdir: str | Path, before: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise a UserError if a field of `config["model"]` is not that of the run in `workdir`.

    `dtype` and `remat` may differ: no weight depends on them.

    Args:
        workdir: for the message.
        before: the run's configuration. A field that it does not have is younger than the run:
            `create_model` knows what that means.
        config: the configuration asked for.
    """
    for name, old, new in differences_of(before.get("model", {}), config["model"], "model."):
        if old is not None and name not in _COMPUTATION:
            raise UserError(
                f"the run in {workdir} has config.{name}={old}, not {new}; "
                "use a new --workdir, or give the field its old value"
            )


def _is_off(value: Any) -> bool:
    """Whether a field with this value changes nothing: False, nothing, or a factor of one."""
    return value is False or (value is not True and value in ("", -1, 0, 1))


def _check_same_run(
    workdir: Path, config: Mapping[str, Any], vocabulary: Mapping[str, Any]
) -> list[str]:
    """What differs from the run in a folder; a UserError for what must not."""
    before = read_config(workdir)
    check_model(workdir, before, config)
    changes = [
        f"{name}: {old} -> {new}"
        for name, old, new in differences_of(before, config)
        if not (old is None and _is_off(new))  # younger than the run
    ]
    if (workdir / VOCABULARY).is_file():  # not where a process was killed between the two files
        # Other pairs seen in training only mean other hard negatives: an imported run, which had
        # no data to see pairs in, may go on with some.
        pairs = "verbs_of_object"
        old, new = _fields(read_vocabulary(workdir)), _fields(vocabulary)
        if old.pop(pairs, None) != new.pop(pairs, None):
            changes.append(f"{pairs}: other pairs of an object and a verb occur in training")
        if old != new:
            raise UserError(
                f"the run in {workdir} was trained with other classes ({VOCABULARY} differs); "
                "use a new --workdir, or the data it was started with"
            )
    return changes


def differences_of(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """(dotted name, old value, new value) of every field that differs; None where it is missing."""
    found = []
    old, new = _fields(old), _fields(new)  # the run's own came from JSON
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences_of(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append((prefix + name, a, b))
    return found


def _read(workdir: str | Path, name: str) -> Any:
    require_run(workdir)
    try:
        content = io.read_json(Path(workdir) / name)
    except UserError as error:
        raise UserError(f"{error}; is this the folder of a run?") from error
    if not isinstance(content, dict):
        raise UserError(f"{Path(workdir) / name} is not a JSON object; {_RESTORE}")
    return content


def _fields(value: Any) -> Any:
    """JSON's objects as `Fields`, its lists as tuples, at every level."""
    if isinstance(value, Mapping):
        return Fields({key: _fields(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(map(_fields, value))
    return value
