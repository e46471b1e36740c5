"""PPDM's baseline on HICO-DET with DLA-34: no gaze step, focal loss, one shared regressor.

Paper:     Default Full 20.16 (table 1).
Command:   python main.py --config=configs/baseline_dla34.py --workdir=/tmp/baseline_dla34
             --config.init_from=ctdet_coco_dla_2x.pth, and the data as in configs/hico.py;
             or PPDM's own weights:
           python -m ggnet_jax.torch_import --config=configs/baseline_dla34.py
             --checkpoint=dla_34.pth --workdir=/tmp/baseline_dla34
Hardware:  the paper's is not named
Result:    not run
"""

from ml_collections import ConfigDict

from configs import baseline_hourglass


def get_config() -> ConfigDict:
    """Return the Hourglass baseline's configuration on DLA-34."""
    config = baseline_hourglass.get_config()
    config.model.backbone = "dla34"
    return config
