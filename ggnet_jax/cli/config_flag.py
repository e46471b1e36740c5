"""The flag --config: a Python file, or the configuration of the run, with overrides on top.

Everything that a person's configuration file may raise becomes one line that names the place.
"""

import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ggnet_jax.config import check_fields, nearest_field, with_fields_of
from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import folder as run_folder

NAME = "config"
_HELP = "Configuration; --config.FIELD=VALUE changes a field."


def define(argv: Sequence[str], base: Any | None) -> None:
    """Define the flag, if ml_collections is there; before the flags are parsed.

    `--mode=evaluate` without a file takes the configuration of the run, so that
    `--config.FIELD=VALUE` changes a field of that.

    Args:
        argv: the command line.
        base: a ConfigDict with every field, which gives a run's configuration the fields that are
            younger than the run.
    """
    try:
        from ml_collections import ConfigDict, config_flags
    except ImportError:  # an installed package that only predicts
        return
    if NAME in flags.FLAGS:
        return
    path, workdir = _peek(argv, NAME), _peek(argv, "workdir")
    if path and not Path(path.split(":", 1)[0]).is_file():
        raise UserError(f"there is no configuration file {path.split(':', 1)[0]}")
    config: Any = None
    if path is None and _peek(argv, "mode") == "evaluate":
        run = workdir is not None and run_folder.is_run(workdir)
        config = run_folder.read_config(workdir) if workdir and run else None
        if base is not None:  # where there is no run, that is said later
            config = with_fields_of(base.to_dict(), config or {})
    if config is not None:
        config_flags.DEFINE_config_dict(NAME, ConfigDict(config), _HELP, lock_config=True)
    else:
        config_flags.DEFINE_config_file(NAME, None, _HELP, lock_config=True)


def value() -> Any:
    """The configuration with its overrides; None if there is none."""
    return flags.FLAGS[NAME].value if NAME in flags.FLAGS else None


def check(argv: Sequence[str], base: Any | None) -> None:
    """Raise a UserError unless the configuration can be read and has the fields of `base`."""
    path = _peek(argv, NAME)
    if value() is None and path is None:
        return
    try:
        fields = value().to_dict()
    except OSError as error:  # the flag keeps it until the first access
        raise UserError(" ".join(str(error).split())) from None
    except AttributeError:
        kind = type(value()).__name__
        raise UserError(f"{path}: get_config() returns a {kind}; return a ConfigDict") from None
    if base is not None:
        check_fields(fields, base.to_dict())


def explain(error: Exception, argv: Sequence[str], base: Any | None) -> str:
    """One line for what parsing the flags raised."""
    fields = base.to_dict() if base is not None else {}
    for argument in argv:  # an override of no field
        name = argument.split("=", 1)[0].lstrip("-")
        name = name.removeprefix("no").removeprefix(f"{NAME}.")
        if argument.lstrip("-").startswith((f"{NAME}.", f"no{NAME}.")) and fields:
            if not _has(fields, name):
                return f"no field config.{name} in the configuration{_hint(name, fields)}"
    path = (_peek(argv, NAME) or "").split(":", 1)[0]
    text = str(error)
    if isinstance(error, AttributeError) and text.endswith("has no attribute 'get_config'"):
        return f"{path} has no function get_config(); it returns the configuration"
    key = re.search(r'Key "([^"]+)" does not exist', text)
    if key:
        return f"{_place(error, path)}no field {key[1]!r} in the configuration" + _hint(
            key[1], fields
        )
    # The flag library puts the whole traceback of some errors into the text.
    last = text.strip().splitlines()[-1] if text.strip() else ""
    last = re.sub(r"^(?:\w+\.)*(?:UserError|ValueError): ", "", last)
    last = re.sub(r"invalid literal for int\(\) with base 10: (.*)", r"\1 is no whole number", last)
    last = re.sub(r"could not convert string to float: (.*)", r"\1 is no number", last)
    if isinstance(error, flags.Error | ValueError | TypeError | OSError):
        return _place(error, path) + last
    return f"{_place(error, path)}{type(error).__name__}: {last}"


def _peek(argv: Sequence[str], name: str) -> str | None:
    """The value of a flag before the flags are parsed; None if it isn't given."""
    for index, argument in enumerate(argv[1:], 1):
        given = re.fullmatch(rf"--?{name}(?:=(.*))?", argument, re.DOTALL)
        if given:
            return given[1] if given[1] is not None else "".join(argv[index + 1 : index + 2])
    return None


def _place(error: Exception, path: str) -> str:
    """'FILE, line N: ' if the error came from the configuration file, else nothing."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: "
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if path and Path(frame.filename).resolve() == Path(path).resolve()
    ]
    lines += [
        int(number)
        for file, number in re.findall(r'File "([^"]+)", line (\d+)', str(error))
        if path and Path(file).resolve() == Path(path).resolve()
    ]
    return f"{path}, line {lines[-1]}: " if lines else ""


def _has(fields: Any, name: str) -> bool:
    for part in name.split("."):
        part = part.split("[", 1)[0]
        if not isinstance(fields, dict) or part not in fields:
            return False
        fields = fields[part]
    return True


def _hint(name: str, fields: Any) -> str:
    near = nearest_field(name, fields)
    return f"; did you mean config.{near}?" if near else ""
