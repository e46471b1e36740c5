"""The command line: flags in, an exit status out.

`main.py` hands in the data pipelines; the console command `ggnet`, which an installed package has,
does without them and therefore only knows the modes that need no data set.
"""

import sys
from typing import Any

from absl import app, flags, logging

from ggnet_jax.dataset import DataPipelines
from ggnet_jax.errors import UserError

try:
    from ml_collections import config_flags
except ImportError:  # an installed package that only predicts
    config_flags = None

MODES = ("train", "evaluate", "predict", "import")

_MODE = flags.DEFINE_enum("mode", "train", MODES, "train also evaluates and draws at the end.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_STEP = flags.DEFINE_integer("step", None, "Checkpoint to use; the newest by default.")
_IMAGES = flags.DEFINE_string("images", None, "predict: files, folders and globs, by commas.")
_OUTPUT = flags.DEFINE_string("output", None, "predict: folder for drawings and predictions.")
_THRESHOLD = flags.DEFINE_float("threshold", None, "predict: lowest score that is shown.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "import: a PyTorch file, .pth.")
_DISTRIBUTED = flags.DEFINE_string(
    "distributed", None, "HOST:PORT,COUNT,ID; 'auto' on TPU pods, Slurm."
)
_CONFIG = None
if config_flags is not None:
    _CONFIG = config_flags.DEFINE_config_file(
        "config", None, "Configuration; --config.FIELD=VALUE changes a field.", lock_config=True
    )


def main(argv: list[str], *, data: DataPipelines | None = None) -> int:
    """Do what the flags say; a mistake of the user's becomes one line and exit status 2.

    Args:
        argv: the program's name and what was no flag.
        data: for training and evaluation; None where only the other modes are to be had.
    """
    try:
        return _run(argv, data)
    except UserError as error:
        return _fail(error)


def console() -> None:
    """The command `ggnet` of an installed package."""
    app.run(main, flags_parser=parse)


def parse(argv: list[str]) -> list[str]:
    """Parse the flags; what is wrong with them becomes one line."""
    try:
        rest = flags.FLAGS(argv)
        getattr(_config(), "seed", None)  # raises if the file could not be read
        return rest
    except (AttributeError, KeyError) as error:  # how ml_collections says "no such field"
        message = f"no such field in the configuration: {error}".replace("\\n", " ")
    except (flags.Error, TypeError, ValueError, OSError) as error:
        message = str(error).strip().splitlines()[-1]  # of a traceback, if the file raised
    sys.exit(_fail(message))


def _run(argv: list[str], data: DataPipelines | None) -> int:
    if len(argv) > 1:
        raise UserError(f"{argv[1]!r} belongs to no flag; lists take commas, not spaces")
    workdir, mode = _WORKDIR.value, _MODE.value
    if not workdir:
        raise UserError("give the folder of the run, --workdir=FOLDER")
    logging.set_verbosity(logging.WARNING)  # Orbax reports every phase of every save at INFO
    from ggnet_jax.cli import modes  # imports JAX, which a mistyped flag need not wait for

    modes.start(_DISTRIBUTED.value)
    if mode == "predict":
        return modes.predict(workdir, _IMAGES.value, _OUTPUT.value, _STEP.value, _THRESHOLD.value)
    if mode == "import":
        return modes.import_checkpoint(_CHECKPOINT.value, _config(), workdir)
    if data is None:
        raise UserError(f"--mode={mode} needs a data set: use main.py of a checkout")
    if mode == "evaluate":
        return modes.evaluate(_config(), workdir, _STEP.value, data)
    return modes.train(_config(), workdir, data)


def _config() -> Any | None:
    return None if _CONFIG is None else _CONFIG.value


def _fail(message: object) -> int:
    """Say what is wrong; the exit status of a mistake."""
    print("error:", " ".join(str(message).split()), file=sys.stderr)
    return 2
