"""Your own images, annotated in Label Studio (docs/your_own_data.md), on the machine that you have.

Paper:     the whole method (sections 3.2-3.4); `small` is too small for the paper's results
Command:   python main.py --config=configs/own.py --workdir=DIR
             --config.data.train_annotations=export.json --config.data.train_images=photos
Hardware:  configs/own.py:small for CPU cores, :dla34 for a GPU of 8 GB, :hourglass (the paper's
           Hourglass-104) for one of 16 GB or a TPU. configs/own.py takes `hourglass` where JAX
           will find an accelerator, else `small`, and says so
Result:    `small` on 60 rendered images of 128 x 128, image_size=(128, 128), no validation split: mAP
           46.7 on 100 others (Default, Full) after 700 steps, 5.5 minutes of processor time, of
           which two cores make three; at 256 x 256 four times as much. The others: not run

Annotations in PPDM's format: --config.data.name=json --config.data.vocabulary=classes.json
"""

import sys
from typing import Any

from configs import base
from ggnet_jax.cli import accelerators


def get_config(network: str = "") -> Any:
    """The base configuration for tens to thousands of images of one's own.

    Args:
        network: "small", "dla34", "hourglass", or "" for what fits the machine.

    Raises:
        ValueError: there is no such network.
    """
    networks = {"small": _small, "dla34": _dla34, "hourglass": _hourglass}
    if not network:
        accelerator = accelerators.expected()
        network = "hourglass" if accelerator else "small"
        others = ", ".join(f"configs/own.py:{name}" for name in networks if name != network)
        where = "accelerator" if accelerator else "no accelerator"
        print(f"{where}: configs/own.py:{network} is taken (others: {others})", file=sys.stderr)
    if network not in networks:
        raise ValueError(f"no network {network!r}; configs/own.py has {', '.join(networks)}")
    config = base.get_config()
    config.data.name = "label_studio"
    config.batch_size = 8
    config.round_batch = True
    config.num_epochs = 100
    config.schedule = "cosine"
    config.log_every_steps = 10
    config.eval_every_epochs = 10
    config.data.val_split = "0.2"  # of the images: training leaves them out, and the best
    config.eval.best = "map"  # checkpoint is chosen on them
    config.checkpoint_every_steps = 500
    config.eval.batch_size = 8
    networks[network](config)
    return config


def _small(config: Any) -> None:
    """One small hourglass at 256 x 256: minutes for 60 images on two cores."""
    config.learning_rate = 1e-3
    config.warmup_steps = 20
    config.data.image_size = (256, 256)
    config.model.stem_width = 16
    config.model.widths = (32, 48, 64, 96)
    config.model.blocks = (1, 1, 1, 1)
    config.model.stacks = 1
    config.model.head_width = 32
    config.model.act_points = 9


def _dla34(config: Any) -> None:
    """DLA-34 at 512 x 512."""
    config.learning_rate = 1.5e-4
    config.warmup_steps = 100
    config.model.backbone = "dla34"
    config.model.dtype = "bfloat16"


def _hourglass(config: Any) -> None:
    """The paper's network, Hourglass-104 at 512 x 512; start it from COCO's weights, init_from."""
    config.learning_rate = 1.5e-4
    config.warmup_steps = 100
    config.model.dtype = "bfloat16"
