"""Make a workdir of a PyTorch checkpoint.

python -m ggnet_jax.torch_import --checkpoint=model.pth --config=configs/hico.py --workdir=FOLDER
"""

import sys

from absl import app, flags, logging
from ml_collections import config_flags

from ggnet_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration; --config.FIELD=VALUE changes a field.", lock_config=True
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "PyTorch file (.pth) to read.")
_WORKDIR = flags.DEFINE_string("workdir", None, "New folder to write.")


def run(argv: list[str]) -> None:
    """Do what the flags say."""
    if len(argv) > 1:
        raise UserError(f"{argv[1]!r} belongs to no flag")
    for flag in (_CHECKPOINT, _CONFIG, _WORKDIR):
        if not flag.value:
            raise UserError(f"give --{flag.name}")
    logging.set_verbosity(logging.WARNING)  # Orbax reports every phase of a save at INFO
    from ggnet_jax.torch_import.command import import_checkpoint  # imports JAX

    import_checkpoint(_CHECKPOINT.value, _CONFIG.value, _WORKDIR.value)


def parse(argv: list[str]) -> list[str]:
    """Parse the flags; what is wrong with them becomes one line."""
    try:
        rest = flags.FLAGS(argv)
        getattr(_CONFIG.value, "seed", None)  # raises if the file could not be read
        return rest
    except (AttributeError, KeyError) as error:  # how ml_collections says "no such field"
        message = f"no such field in the configuration: {error}"
    except (flags.Error, TypeError, ValueError, OSError) as error:
        message = error
    sys.exit(fail(message))


def main(argv: list[str]) -> int:
    """Run; a mistake of the user's becomes one line and exit status 2."""
    try:
        run(argv)
    except UserError as error:
        return fail(error)
    return 0


def fail(message: object) -> int:
    """Say what is wrong; the exit status of a mistake."""
    print("error:", " ".join(str(message).split()), file=sys.stderr)
    return 2


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
