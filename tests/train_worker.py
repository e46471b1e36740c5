"""Run by test_resume.py: train the tiny configuration, saving after every step.

Everything that a run can carry from step to step is on: gradient accumulation, an average of the
weights, the clip of the gradient, a warm-up.

Two of its images are held out, and the best checkpoint is chosen by a number that changes with
every bit of its weights: as good as mAP to see that the same one is chosen, and there at once.

Usage: train_worker.py WORKDIR DATA_DIR
"""

import sys
import zlib

import jax
import numpy as np
from tiny_config import get_config

import data_pipelines
from ggnet_jax.run_dir import checkpoints
from ggnet_jax.training import loop


def evaluate(config, workdir, step):
    """A number in 0..1000 of the weights."""
    total = 0
    for leaf in jax.tree.leaves(checkpoints.load_variables(workdir, step)[0]):
        total = zlib.crc32(np.ascontiguousarray(leaf).data, total)
    return {"checksum": total % 1000}


config = get_config()
config.num_epochs = 15
config.model.gaze_steps = 1
config.accumulate_steps, config.ema_decay = 2, 0.9
config.grad_clip, config.glance_lr_multiplier = 1.0, 10.0
config.schedule, config.warmup_steps = "cosine", 10
config.data.figures.num_train = 10
config.data.val_split = "0.2"
config.eval_every_epochs = 1
config.eval.best = "checksum"
config.data.augment.color = True
config.checkpoint_every_steps = 1
config.keep_checkpoints = 2
config.data.data_dir = sys.argv[2]
print(loop.train(config, sys.argv[1], data_pipelines, evaluate=evaluate))
