"""HICO-DET with Hourglass-104, the paper's settings (section 4, table 5).

Paper:     Default 23.47 / 16.48 / 25.60, Known Object 27.36 / 20.23 / 29.48 (Full/Rare/Non-rare),
           from a backbone trained on COCO.
Command:   python main.py --config=configs/hico.py --workdir=/tmp/ggnet_hico
             --config.init_from=ctdet_coco_hg.pth   (from scratch without it)
             --config.data.train_annotations=hico/annotations/trainval_hico.json
             --config.data.train_images=hico/images/train2015
             --config.data.eval_annotations=hico/annotations/test_hico.json
             --config.data.eval_images=hico/images/test2015
Hardware:  the paper's is not named; on 8 devices the batch of 23 becomes 24
Result:    not run
"""

from typing import Any

from configs import base


def get_config() -> Any:
    """Return the base configuration on HICO-DET."""
    config = base.get_config()
    config.batch_size = 23
    config.round_batch = True
    config.learning_rate = 1.5e-4
    base.use_data_set(config, "hico_det")
    config.eval.protocol = "hico"
    return config
