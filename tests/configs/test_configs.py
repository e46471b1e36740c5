"""The shipped configurations: the paper's settings, and the note on top of each."""

import pytest

from configs import base, demo, fine_tuning, hico, vcoco, vcoco_mini


def test_paper_settings():
    """Section 4, and Hourglass-104."""
    for module, batch, rate in ((hico, 23, 1.5e-4), (vcoco, 7, 1.5e-5)):
        config = module.get_config()
        assert (config.batch_size, config.learning_rate) == (batch, rate)
        assert (config.num_epochs, config.lr_drop_epochs, config.lr_drop) == (120, (90,), 0.1)
        assert config.data.image_size == (512, 512)
        assert config.model.widths == (256, 256, 384, 384, 384, 512)
        assert config.model.blocks == (2, 2, 2, 2, 2, 4)
        assert (config.model.stem_width, config.model.stacks) == (128, 2)
        assert (config.loss.lambda_1, config.loss.lambda_2) == (0.1, 0.1)
        assert config.glance_lr_multiplier == 1.0


@pytest.mark.parametrize("module", [base, demo, fine_tuning, hico, vcoco, vcoco_mini])
def test_configs_open_with_their_lab_note(module):
    for heading in ("Command:",) if module is base else ("Command:", "Hardware:", "Result:"):
        assert heading in module.__doc__
    fields = base.get_config()
    for name, value in module.get_config().items():
        assert type(value) is type(fields[name]), name
