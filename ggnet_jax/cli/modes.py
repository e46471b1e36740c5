"""What `--mode=...` does; each function returns an exit status.

Imports wait until a mode needs them: predicting loads neither TensorFlow nor Optax.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax

from ggnet_jax.cli import compilation_cache, cuda_atomics
from ggnet_jax.cli.processes import join
from ggnet_jax.config import absolute_paths, check_evaluation, check_image_size, padded_batch_size
from ggnet_jax.dataset import DataPipelines
from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import best
from ggnet_jax.run_dir import folder as run_folder
from ggnet_jax.run_dir.checkpoints import Step


def start(processes: str | None) -> None:
    """Settle how JAX works in this process, before anything uses it.

    Args:
        processes: None for one process, which uses the compilation cache; else see
            `processes.join`. (Of several processes some would find a program in the cache, and the
            others wait for these to help compile it.)
    """
    if processes:
        join(processes)
    else:
        compilation_cache.enable()


def train(config: Any, workdir: str | Path, data: DataPipelines) -> int:
    """Train, or go on training; then evaluate the result and draw a few images.

    The result is the best checkpoint, where one was chosen, else the newest. A run that was asked
    to stop ends after its checkpoint: no evaluation, exit status 0.
    """
    from ggnet_jax.cli import evaluate_split
    from ggnet_jax.cli.validation import evaluate_in_training
    from ggnet_jax.training import agreement, loop

    if config is None:
        raise UserError("give a configuration, such as --config=configs/demo.py")
    config = absolute_paths(config)
    boxes = config.eval.detections
    if boxes and not Path(boxes).is_file():  # better now than after the training
        raise UserError(f"config.eval.detections: there is no file {boxes}")
    slow = cuda_atomics.warning(jax.devices()[0].platform)
    if slow and jax.process_index() == 0:
        print(slow)
    result = loop.train(
        config,
        workdir,
        data,
        check=evaluate_split.check_training,
        evaluate=partial(evaluate_in_training, data=data),
    )
    if not result.finished:
        return 0
    # Asked of the first process, which alone has certainly written it.
    step = agreement.of_first(best.step_of(workdir)) if config.eval.best else None
    if data.load_dataset(config.data).eval_split:
        return evaluate(config, workdir, step, data)
    if jax.process_index() == 0:
        print(_nothing_to_evaluate(workdir, result.step, step))
    return 0


def inspect(config: Any, output: str | None, data: DataPipelines) -> int:
    """Say what is in a data set; with a folder, write a page with images there too."""
    from ggnet_jax.cli import inspect_data

    if config is None:
        raise UserError("give a configuration, such as --config=configs/demo.py")
    with _terminable():
        inspect_data.inspect(absolute_paths(config), output, data)
    return 0


def _nothing_to_evaluate(workdir: str | Path, newest: int, step: int | None) -> str:
    """What a training without an evaluation split ends with."""
    chosen = None if step is None else best.summary(workdir, step)
    said = f"the newest checkpoint is of step {newest}"
    if chosen is not None:
        said = f"--step=best is step {step}, {chosen['metric']} {chosen['value']:.2f} on the "
        said += "validation split"
    return (
        f"there is no data to evaluate on (config.data.eval_annotations is empty); {said}, "
        "and --mode=predict draws what it finds"
    )


def evaluate(config: Any | None, workdir: str | Path, step: Step, data: DataPipelines) -> int:
    """Print the table of mAP for a checkpoint and the paths of a few drawings.

    Args:
        config: None for that of the run.
        workdir: of the run.
        step: of the checkpoint; None for the newest, "best" for the chosen one.
        data: where the evaluation split comes from.
    """
    from ggnet_jax.cli import evaluate_split

    resolved = _evaluation_config(config, workdir)
    with _terminable():
        evaluate_split.evaluate(resolved, workdir, step, data=data)
        if jax.process_index() == 0 and resolved.eval.pictures:
            from ggnet_jax.cli import drawings

            print("drawings:")
            for path in drawings.draw_run(resolved, workdir, step, data=data):
                print(f"  {path}")
    return 0


def predict(
    workdir: str | Path,
    images: str | None,
    output: str | None,
    step: Step,
    threshold: float | None,
    **options: Any,
) -> int:
    """Find and draw the interactions of images and videos; exit status 1 if one failed.

    Args:
        workdir: of the run.
        images: files, folders, globs and cameras, with commas between.
        output: folder for what is written.
        step: of the checkpoint.
        threshold: lowest score that is shown.
        **options: others of `predict.predict` and `predict_video.predict_videos`; None leaves
            their default.
    """
    from ggnet_jax.cli import image_paths
    from ggnet_jax.cli import predict as predictions

    if not images:
        raise UserError("give images, --images=FILE,FOLDER,GLOB")
    if threshold is None:
        threshold = predictions.DEFAULT_THRESHOLD
    options = {name: value for name, value in options.items() if value is not None}
    of_videos = {name: options.pop(name) for name in ("every", "fps") if name in options}
    files, videos = image_paths.find_sources(images, frames="fps" in of_videos)
    if of_videos and not videos:
        raise UserError("--every chooses frames of videos; --images names none")
    if "draw" in options and not files:
        raise UserError("--draw chooses images to draw; --images names none, only videos")
    if videos:  # now, and not when the images are done
        _check_videos(workdir, videos, output, options.get("format", "native"), of_videos)
    failed = 0
    with _terminable():
        if files:
            predict_images = _images_function(options, len(files))
            failed += predict_images(workdir, files, output, step, threshold, **options)
        if videos:
            from ggnet_jax.cli.predict_video import predict_videos

            both = ("max_pixels", "dtype")
            of_videos |= {name: options[name] for name in both if name in options}
            failed += predict_videos(workdir, videos, output, step, threshold, **of_videos)
    return 1 if failed else 0


def _images_function(options: dict[str, Any], count: int) -> Callable[..., int]:
    """What predicts so many images; settles what is drawn of them."""
    from ggnet_jax.cli.predict import predict
    from ggnet_jax.cli.predict_many import FEW, predict_many

    if "draw" not in options and count > FEW:
        options["draw"] = "none"
        print(f"{count:,} images: none is drawn unless --draw=best or --draw=all asks for it")
    if options.get("draw", "all") == "all" and count <= FEW:
        options.pop("draw", None)
        return predict
    return predict_many


def _check_videos(
    workdir: str | Path, videos: Any, output: str | None, format: str, options: dict[str, Any]
) -> None:
    """Raise a UserError if videos can't be predicted so."""
    from ggnet_jax.video import pyav

    pyav.require("a video")  # before what imports it
    from ggnet_jax.cli import predict_video

    if format != "native":
        raise UserError(f"--format={format} is for images; videos have lines of their own")
    folder = Path(output) if output else Path(workdir) / run_folder.PREDICTIONS
    predict_video.check(videos, folder, **options)


def serve(workdir: str | Path, **options: Any) -> int:
    """Answer in a web page until Ctrl-C.

    Args:
        workdir: of the run.
        **options: of `run_server`; None leaves its default.
    """
    from ggnet_jax.serve import run_server

    with _terminable():
        run_server(workdir, **{name: value for name, value in options.items() if value is not None})
    return 0


def export(workdir: str | Path, output: str | None, step: Step, *, format: str | None) -> int:
    """Write the network of a run as files that need neither the run nor this package.

    Args:
        workdir: of the run.
        output: a new folder.
        step: of the checkpoint.
        format: of the files.
    """
    from ggnet_jax.cli import export as exports

    with _terminable():
        exports.export(workdir, output, step, format=format)
    return 0


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and a closed terminal end the work as Ctrl-C does: nothing half-written stays."""
    alone = jax.process_count() == 1  # else JAX waits for SIGTERM itself
    numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP") if alone]
    caught = [n for n in numbers if n and signal.getsignal(n) is signal.SIG_DFL]  # not of nohup
    for number in caught:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def use_font(path: str) -> None:
    """Draw texts with a font of the user's."""
    from ggnet_jax.visualize import fonts

    fonts.use(path)


def import_checkpoint(checkpoint: str | None, config: Any, workdir: str | Path) -> int:
    """Make a workdir of a PyTorch checkpoint."""
    from ggnet_jax import torch_import

    if not checkpoint:
        raise UserError("give the file to import, --checkpoint=model.pth")
    if config is None:
        raise UserError("give the configuration of its network, such as --config=configs/hico.py")
    config = absolute_paths(config)
    torch_import.import_checkpoint(checkpoint, config, workdir)
    return 0


def estimate(config: Any) -> int:
    """Print what a training step takes here, and the largest batch that fits."""
    from ggnet_jax.cli import estimate as estimates

    if config is None:
        raise UserError("give a configuration, such as --config=configs/demo.py")
    with _terminable():
        return estimates.estimate(absolute_paths(config))


def _evaluation_config(config: Any | None, workdir: str | Path) -> Any:
    """A configuration with the network of the run; a UserError if another one was asked for."""
    from ml_collections import ConfigDict

    trained = run_folder.read_config(workdir)
    asked = trained if config is None else absolute_paths(config).to_dict()
    for field in ("num_verbs", "num_objects"):  # 0 leaves them to the vocabulary
        asked["model"][field] = asked["model"][field] or trained["model"][field]
    run_folder.check_model(workdir, trained, asked)
    check_image_size(ConfigDict(asked))
    check_evaluation(ConfigDict(asked))
    asked["eval"]["batch_size"] = padded_batch_size(asked["eval"]["batch_size"], jax.device_count())
    return ConfigDict(asked)
