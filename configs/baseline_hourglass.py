"""PPDM's baseline on HICO-DET with Hourglass-104: no gaze step, focal loss, one shared regressor.

Paper:     Default 21.43 / 13.46 / 23.81, Known Object 24.29 / 16.40 / 26.65 (table 5).
Command:   python main.py --config=configs/baseline_hourglass.py --workdir=/tmp/baseline_hourglass
             --config.init_from=ctdet_coco_hg.pth, and the data as in configs/hico.py;
             or PPDM's own weights:
           python -m ggnet_jax.torch_import --config=configs/baseline_hourglass.py
             --checkpoint=hourglass.pth --workdir=/tmp/baseline_hourglass
Hardware:  the paper's is not named
Result:    not run
"""

from ml_collections import ConfigDict

from configs import hico


def get_config() -> ConfigDict:
    """Return the HICO-DET configuration without glance and gaze, HNA and APM."""
    config = hico.get_config()
    config.model.gaze_steps = 0
    config.model.per_verb_offsets = False
    config.loss.interaction = "focal"
    return config
