"""The rendered data set at 64 pixels and a network of two levels, for --config."""

from configs import base


def get_config():
    """A run of a few seconds: eight steps of two images."""
    config = base.get_config()
    config.batch_size = 2
    config.num_epochs = 2
    config.learning_rate = 1e-3
    config.lr_drop_epochs = (1,)
    config.log_every_steps = 1
    config.checkpoint_every_steps = 3
    config.data.name = "figures_hoi"
    config.data.image_size = (64, 64)
    config.data.max_boxes = 10
    config.data.max_relations = 8
    config.data.figures.update(size=64, num_train=8, num_test=4)
    config.model.update(
        stem_width=8, widths=(8, 8), blocks=(1, 1), stacks=1, head_width=32, act_points=9
    )
    config.eval.batch_size = 4
    config.eval.pictures = 2
    return config
