"""GGNet on the rendered data set (figures_hoi): people and everyday objects, drawn on the spot.

Paper:     sections 3.2-3.4, all components, with a small hourglass instead of Hourglass-104.
Command:   python main.py --config=configs/demo.py --workdir=/tmp/ggnet_demo
Hardware:  two CPU cores
Result:    mAP 83.06 / 46.80 / 92.12 (Full / Rare / Non-rare, Default), 3 to 4 minutes
           in all, 8 without AVX-512; 80.7 to 86.1 in Full on other processors, which round
           differently
"""

from typing import Any

from configs import base


def get_config() -> Any:
    """Return the base configuration at 128 x 128 and a small hourglass."""
    config = base.get_config()
    config.batch_size = 16
    config.num_epochs = 10
    config.learning_rate = 2e-3
    config.schedule = "cosine"
    config.warmup_steps = 50
    config.log_every_steps = 20
    config.checkpoint_every_steps = 200

    base.use_data_set(config, "figures_hoi")
    config.data.image_size = (128, 128)
    config.data.max_boxes = 16
    config.data.max_relations = 16
    config.data.augment.scale = False
    config.data.augment.crop = False
    config.data.augment.color = False

    config.model.stem_width = 16
    config.model.widths = (32, 32, 48, 64)
    config.model.blocks = (1, 1, 1, 1)
    config.model.stacks = 1
    config.model.head_width = 32
    config.model.act_points = 9
    return config
