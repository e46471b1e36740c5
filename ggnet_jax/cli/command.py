"""The command line: flags in, an exit status out.

`main.py` hands in the data pipelines; the console command `ggnet`, which an installed package has,
does without them and therefore only knows the modes that need no data set.
"""

import io
import os
import sys
from typing import Any

from absl import app, flags, logging

from ggnet_jax.cli import config_flag
from ggnet_jax.dataset import DataPipelines
from ggnet_jax.errors import UserError
from ggnet_jax.run_dir.best import BEST

MODES = (
    "train", "evaluate", "predict", "inspect", "estimate", "serve", "export", "import",
    "label-config",
)  # fmt: skip

_MODE = flags.DEFINE_enum("mode", "train", MODES, "train also evaluates and draws at the end.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_STEP = flags.DEFINE_string("step", None, "Checkpoint to use, or best; the newest by default.")
_IMAGES = flags.DEFINE_string(
    "images",
    None,
    "predict: images, videos, folders, globs, camera:0, by commas. serve: example photos.",
)
_OUTPUT = flags.DEFINE_string("output", None, "predict, inspect, export: folder to write to.")
_THRESHOLD = flags.DEFINE_float("threshold", None, "predict, serve: lowest score that is shown.")
_FORMAT = flags.DEFINE_string(
    "format", None, "predict: native, or ppdm for the evaluators; export: stablehlo, onnx."
)
_MAX_PIXELS = flags.DEFINE_integer("max_pixels", None, "Largest width times height.")
_DTYPE = flags.DEFINE_enum(
    "dtype", None, ("float32", "bfloat16"), "predict, serve: of the network; the run's by default."
)
_EVERY = flags.DEFINE_integer("every", None, "predict: take one of so many frames of a video.")
_DRAW = flags.DEFINE_enum("draw", None, ("none", "best", "all"), "predict: which images are drawn.")
_FPS = flags.DEFINE_float("fps", None, "predict: folders hold frames of a video, so many a second.")
_FONT = flags.DEFINE_string("font", None, "A font file for the texts in drawings.")
_HOST = flags.DEFINE_string("host", None, "serve: address to listen on; 0.0.0.0 for all.")
_PORT = flags.DEFINE_integer("port", None, "serve: port to listen on; 0 for a free one.")
_MAX_BYTES = flags.DEFINE_integer("max_bytes", None, "serve: of the largest upload.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "import: a PyTorch file, .pth.")
_CLASSES = flags.DEFINE_string("classes", None, "label-config: a class list, .json.")
_DISTRIBUTED = flags.DEFINE_string(
    "distributed", None, "HOST:PORT,COUNT,ID; 'auto' on TPU pods, Slurm."
)
# The flags that only some modes read.
_READ_BY = {
    config_flag.NAME: ("train", "evaluate", "import", "inspect", "estimate"),
    "step": ("evaluate", "predict", "serve", "export"),
    "images": ("predict", "serve"),
    "output": ("predict", "inspect", "export"),
    "threshold": ("predict", "serve"),
    "format": ("predict", "export"),
    "max_pixels": ("predict", "serve"),
    "dtype": ("predict", "serve"),
    "draw": ("predict",),
    "every": ("predict",),
    "fps": ("predict",),
    "font": ("train", "evaluate", "predict", "inspect", "serve"),
    "host": ("serve",),
    "port": ("serve",),
    "max_bytes": ("serve",),
    "checkpoint": ("import",),
    "classes": ("label-config",),
    "distributed": ("train", "evaluate"),
}


def main(argv: list[str], *, data: DataPipelines | None = None) -> int:
    """Do what the flags say; a mistake of the user's becomes one line and exit status 2.

    Args:
        argv: the program's name and what was no flag.
        data: for training and evaluation; None where only the other modes are to be had.
    """
    try:
        status = _run(argv, data)
        sys.stdout.flush()
        return status
    except UserError as error:
        return _fail(error)
    except KeyboardInterrupt as stopped:
        what = f"; {stopped}" if str(stopped) else ""
        print(f"\ninterrupted{what}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a full disk, a folder that may not be written
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else error)


def console() -> None:
    """The command `ggnet` of an installed package."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # see main.py
    app.run(main, flags_parser=parse)


def parse(argv: list[str], *, base: Any | None = None) -> list[str]:
    """Parse the flags; what is wrong with them becomes one line.

    Args:
        argv: the command line.
        base: a ConfigDict with every field that a configuration has; None does without checks.
    """
    for stream in (sys.stdout, sys.stderr):  # an ASCII terminal, and a file name beyond it
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.set_verbosity(logging.ERROR)  # ml_collections warns of what is refused below
    argv = _spelled_out(argv)
    try:
        config_flag.define(argv, base)
        rest = flags.FLAGS(argv)
        _check_mode()
        config_flag.check(argv, base)
        return rest
    except UserError as error:
        message = str(error)
    except Exception as error:  # a configuration is a program, and may raise anything
        message = config_flag.explain(error, argv, base)
    sys.exit(_fail(message))


def _spelled_out(argv: list[str]) -> list[str]:
    """`ggnet label-config FILE` in flags."""
    if argv[1:2] != ["label-config"]:
        return argv
    files = [word for word in argv[2:3] if not word.startswith("-")]
    options = [f"--classes={file}" for file in files] + argv[2 + len(files) :]
    return [argv[0], "--mode=label-config", *options]


def _check_mode() -> None:
    """Raise a UserError for a flag that the mode does not read."""
    mode = _MODE.value
    for name, modes in _READ_BY.items():
        if name in flags.FLAGS and flags.FLAGS[name].present and mode not in modes:
            readers = ", ".join(f"--mode={reader}" for reader in modes)
            does = "do" if len(modes) > 1 else "does"
            raise UserError(f"--mode={mode} does not read --{name}, {readers} {does}")


def _run(argv: list[str], data: DataPipelines | None) -> int:
    if len(argv) > 1:
        raise UserError(f"{argv[1]!r} belongs to no flag; lists take commas, not spaces")
    workdir, mode = _WORKDIR.value, _MODE.value
    if mode == "label-config":
        from ggnet_jax.cli import label_config

        return label_config.print_config(_CLASSES.value)
    if not workdir and mode not in ("inspect", "estimate"):
        raise UserError("give the folder of the run, --workdir=FOLDER")
    logging.set_verbosity(logging.WARNING)  # Orbax reports every phase of every save at INFO
    # These import JAX, which a mistyped flag need not wait for.
    from ggnet_jax.cli import modes, processes

    modes.start(_DISTRIBUTED.value)
    with processes.ends_with_the_others():
        return _do(mode, workdir or "", data)


def _do(mode: str, workdir: str, data: DataPipelines | None) -> int:
    from ggnet_jax.cli import modes

    if _FONT.value is not None:
        modes.use_font(_FONT.value)
    if mode == "predict":
        return modes.predict(
            workdir,
            _IMAGES.value,
            _OUTPUT.value,
            _step(),
            _THRESHOLD.value,
            format=_FORMAT.value,
            max_pixels=_MAX_PIXELS.value,
            dtype=_DTYPE.value,
            draw=_DRAW.value,
            every=_EVERY.value,
            fps=_FPS.value,
        )
    if mode == "estimate":
        return modes.estimate(config_flag.value())
    if mode == "serve":
        return modes.serve(
            workdir,
            images=_IMAGES.value,
            step=_step(),
            threshold=_THRESHOLD.value,
            host=_HOST.value,
            port=_PORT.value,
            max_bytes=_MAX_BYTES.value,
            max_pixels=_MAX_PIXELS.value,
            dtype=_DTYPE.value,
        )
    if mode == "export":
        return modes.export(workdir, _OUTPUT.value, _step(), format=_FORMAT.value)
    if mode == "import":
        return modes.import_checkpoint(_CHECKPOINT.value, config_flag.value(), workdir)
    if data is None:
        raise UserError(f"--mode={mode} needs a data set: use main.py of a checkout")
    if mode == "inspect":
        return modes.inspect(config_flag.value(), _OUTPUT.value, data)
    if mode == "evaluate":
        return modes.evaluate(config_flag.value(), workdir, _step(), data)
    return modes.train(config_flag.value(), workdir, data)


def _step() -> int | str | None:
    """The checkpoint that was asked for: a number, "best", or None for the newest."""
    text = _STEP.value
    if text is None or text == BEST:
        return text
    if not text.isdecimal():
        raise UserError(
            f"--step={text}: give the number of a checkpoint, or {BEST} for the one that was "
            "chosen on the validation split"
        )
    return int(text)


def _fail(message: object) -> int:
    """Say what is wrong; the exit status of a mistake."""
    print("error:", " ".join(str(message).split()), file=sys.stderr)
    return 2
