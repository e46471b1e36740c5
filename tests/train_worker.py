"""Run by test_resume.py: train the tiny configuration, saving after every step.

Everything that a run can carry from step to step is on: gradient accumulation, an average of the
weights, the clip of the gradient, a warm-up.

Usage: train_worker.py WORKDIR DATA_DIR
"""

import sys

from tiny_config import get_config

import data_pipelines
from ggnet_jax.training import loop

config = get_config()
config.num_epochs = 15
config.accumulate_steps, config.ema_decay = 2, 0.9
config.grad_clip, config.glance_lr_multiplier = 1.0, 10.0
config.schedule, config.warmup_steps = "cosine", 10
config.data.augment.color = True
config.checkpoint_every_steps = 1
config.keep_checkpoints = 2
config.data.data_dir = sys.argv[2]
print(loop.train(config, sys.argv[1], data_pipelines))
