"""Train, evaluate and use GGNet.

python main.py --config=configs/demo.py --workdir=/tmp/ggnet_demo
python main.py --mode=evaluate --workdir=/tmp/ggnet_demo
python main.py --mode=predict --workdir=/tmp/ggnet_demo --images=photo.jpg,folder,"*.png"
"""

import os
import sys

# TensorFlow reads pictures and has nothing to say; before it is first imported.
os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"} | os.environ)

from absl import app, flags, logging
from ml_collections import config_flags

from ggnet_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration; --config.FIELD=VALUE changes a field.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "evaluate", "predict"], "train also evaluates and draws at the end."
)
_STEP = flags.DEFINE_integer("step", None, "Checkpoint to use; the newest by default.")
_IMAGES = flags.DEFINE_string("images", None, "predict: files, folders and globs, by commas.")
_OUTPUT = flags.DEFINE_string("output", None, "predict: folder for drawings and predictions.")
_LOWEST = flags.DEFINE_float("threshold", None, "predict: lowest score that is shown.")
_JOIN = flags.DEFINE_string("distributed", None, "HOST:PORT,COUNT,ID; 'auto' on TPU pods, Slurm.")


def run(argv: list[str]) -> int:
    """Do what the flags say; the exit status."""
    if len(argv) > 1:
        raise UserError(f"{argv[1]!r} belongs to no flag; lists take commas, not spaces")
    if not _WORKDIR.value:
        raise UserError("give the folder of the run, --workdir=FOLDER")
    logging.set_verbosity(logging.WARNING)  # Orbax reports every phase of every save at INFO
    from ggnet_jax.cli import modes

    modes.start(_JOIN.value)
    if _MODE.value == "train":
        return modes.train(_CONFIG.value, _WORKDIR.value)
    if _MODE.value == "evaluate":
        return modes.evaluate(_CONFIG.value, _WORKDIR.value, _STEP.value)
    return modes.predict(_WORKDIR.value, _IMAGES.value, _OUTPUT.value, _STEP.value, _LOWEST.value)


def parse(argv: list[str]) -> list[str]:
    """Parse the flags; what is wrong with them becomes one line."""
    try:
        rest = flags.FLAGS(argv)
        getattr(_CONFIG.value, "seed", None)  # raises if the file could not be read
        return rest
    except (AttributeError, KeyError) as error:  # how ml_collections says "no such field"
        message = f"no such field in the configuration: {error}".replace("\\n", " ")
    except (flags.Error, TypeError, ValueError, OSError) as error:
        message = str(error).strip().splitlines()[-1]  # of a traceback, if the file raised
    sys.exit(fail(message))


def main(argv: list[str]) -> int:
    """Run; a mistake of the user's becomes one line and exit status 2."""
    try:
        return run(argv)
    except UserError as error:
        return fail(error)


def fail(message: object) -> int:
    """Say what is wrong; the exit status of a mistake."""
    print("error:", " ".join(str(message).split()), file=sys.stderr)
    return 2


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
