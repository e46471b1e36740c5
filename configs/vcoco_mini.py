"""Overfit to seven real V-COCO photos: does everything work on real images?

Paper:     the whole method (sections 3.2-3.4) with a smaller hourglass; no number to compare with.
Command:   python main.py --config=configs/vcoco_mini.py --workdir=/tmp/ggnet_vcoco_mini
             --config.data.train_annotations=mini/mini_vcoco.json
             --config.data.train_images=mini/images
             --config.data.eval_annotations=mini/mini_vcoco.json
             --config.data.eval_images=mini/images
Hardware:  two CPU cores
Result:    each of the 23 annotated pairs is among the n + 2 best predictions of its image (n = its
           number of pairs); 300 steps, 28 min
"""

from typing import Any

from configs import base


def get_config() -> Any:
    """Return the base configuration with one small hourglass, 256 x 256 and no augmentation."""
    config = base.get_config()
    config.batch_size = 7
    config.round_batch = True
    config.num_epochs = 300
    config.learning_rate = 1e-3
    config.schedule = "cosine"
    config.warmup_steps = 20
    config.log_every_steps = 10
    config.checkpoint_every_steps = 100

    base.use_data_set(config, "v_coco")
    config.data.image_size = (256, 256)
    config.data.augment.flip = False
    config.data.augment.scale = False
    config.data.augment.crop = False
    config.data.augment.color = False

    config.model.stem_width = 16
    config.model.widths = (48, 48, 64, 96)
    config.model.blocks = (1, 1, 1, 1)
    config.model.stacks = 1
    config.model.head_width = 48
    config.eval.batch_size = 7
    config.eval.protocol = "vcoco"
    return config
