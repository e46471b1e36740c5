"""The folder of a run: its configuration and its vocabulary, next to what it produces.

    config.json  vocabulary.json  checkpoints/<step>/  log.jsonl  tensorboard/  evaluation/
    pictures/

Training writes the first two before anything else; with the checkpoints they are all that inference
needs. No TensorFlow and no ml_collections here.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ggnet_jax.errors import UserError

CONFIG = "config.json"
VOCABULARY = "vocabulary.json"
# Fields that are free to differ between the parts of one run have no place here.
_FIXED = "model"
_UNFINISHED = ".unfinished"


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON so that the file is at every moment absent, old or new, never half."""
    path = Path(path)
    draft = path.with_name(path.name + _UNFINISHED)
    draft.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(draft, path)


def is_run(workdir: str | Path) -> bool:
    """Whether a run was ever started in this folder."""
    return (Path(workdir) / CONFIG).is_file()


def require_run(workdir: str | Path) -> None:
    """Raise a UserError unless `workdir` is the folder of a run."""
    workdir = Path(workdir)
    if is_run(workdir):
        return
    if not workdir.is_dir():
        raise UserError(f"the workdir {workdir} does not exist; train first, or check --workdir")
    raise UserError(f"the workdir {workdir} holds no run ({CONFIG} is missing); check --workdir")


def read_config(workdir: str | Path) -> dict[str, Any]:
    """The resolved configuration of a run as nested dictionaries; lists come back as tuples."""
    require_run(workdir)
    return _tuples(_read_json(Path(workdir) / CONFIG))


class Fields(dict):
    """A configuration without ml_collections: `config.model.stacks` or `config["model"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the configuration has no field {name!r}") from None


def load_config(workdir: str | Path) -> Fields:
    """The resolved configuration of a run, its fields also as attributes."""
    return _fields(read_config(workdir))


def read_vocabulary(workdir: str | Path) -> dict[str, Any]:
    """vocabulary.json: `Vocabulary.to_dict()` and `verbs_of_object`, [O][V] booleans."""
    require_run(workdir)
    return _read_json(Path(workdir) / VOCABULARY)


def check_folder(workdir: str | Path) -> None:
    """Raise a UserError unless a run may start or go on in `workdir`, which need not exist."""
    workdir = Path(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"the workdir {workdir} is a file; give a folder")
    if not workdir.is_dir() or is_run(workdir):
        return
    # Another process of this run may be writing the two files just now.
    ours = {CONFIG, VOCABULARY, CONFIG + _UNFINISHED, VOCABULARY + _UNFINISHED}
    foreign = sorted(entry.name for entry in workdir.iterdir() if entry.name not in ours)
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
    """Make a folder ready to train in, or see that the run in it may go on.

    Args:
        workdir: a new or empty folder, or that of an earlier run.
        config: the resolved configuration.
        vocabulary: what vocabulary.json is to hold.
        write: False in all processes but the first, which only check.

    Returns:
        One line for each field that differs from the run so far; empty for a new one.

    Raises:
        UserError: the folder holds other people's files, or a run whose network or vocabulary is not
            the one asked for.
    """
    workdir = Path(workdir)
    check_folder(workdir)
    changes: list[str] = []
    if is_run(workdir):
        before = read_config(workdir)
        check_model(workdir, before, config)
        changes = [
            f"{name}: {old} -> {new}" for name, old, new in _differences(before, _tuples(config))
        ]
        if (workdir / VOCABULARY).is_file():
            # Other pairs seen in training only mean other hard negatives: an imported run, which
            # had no data to see pairs in, may go on with some.
            pairs = "verbs_of_object"
            old, new = read_vocabulary(workdir), json.loads(json.dumps(vocabulary))
            if old.pop(pairs, None) != new.pop(pairs, None):
                changes.append(f"{pairs}: other pairs of an object and a verb occur in training")
            if old != new:
                raise UserError(
                    f"the run in {workdir} was trained with other classes ({VOCABULARY} differs); "
                    "use a new --workdir, or the data it was started with"
                )
    if write:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            write_json(workdir / CONFIG, config)
            write_json(workdir / VOCABULARY, vocabulary)
        except OSError as error:
            raise UserError(f"cannot write to the workdir {workdir}: {error.strerror}") from error
    return changes


def check_model(workdir: str | Path, before: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise a UserError if a field of `config['model']` is not that of the run's own.

    A field that is younger than the run is none of its own; `create_model` knows what it means to
    be without.
    """
    for name, old, new in _differences(
        {_FIXED: before.get(_FIXED, {})}, {_FIXED: _tuples(config[_FIXED])}
    ):
        if old is None:
            continue
        raise UserError(
            f"the run in {workdir} has config.{name}={old}, not {new}; "
            "use a new --workdir, or give the field its old value"
        )


def _differences(old: Mapping, new: Mapping, prefix: str = "") -> list[tuple[str, Any, Any]]:
    found = []
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += _differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append((prefix + name, a, b))
    return found


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); is this the folder of a run?") from error


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _tuples(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_tuples(v) for v in value)
    return value


def _fields(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Fields({k: _fields(v) for k, v in value.items()})
    return value
