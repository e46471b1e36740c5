"""HICO-DET with DLA-34, the backbone of the paper's ablation (section 4, table 1).

Paper:     Default Full 22.03, from a backbone trained on COCO.
Command:   python main.py --config=configs/hico_dla34.py --workdir=/tmp/ggnet_hico_dla34
             --config.init_from=ctdet_coco_dla_2x.pth, and the data as in configs/hico.py
Hardware:  the paper's is not named
Result:    not run
"""

from ml_collections import ConfigDict

from configs import hico


def get_config() -> ConfigDict:
    """Return the HICO-DET configuration on DLA-34; GGNet's heads stay 256 wide."""
    config = hico.get_config()
    config.model.backbone = "dla34"
    return config
