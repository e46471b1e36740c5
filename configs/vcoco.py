"""V-COCO with Hourglass-104, the paper's settings (section 4, table 4): train + val, then test.

Paper:     AP_role 54.72 (Scenario 1), from a backbone trained on COCO.
Command:   python main.py --config=configs/vcoco.py --workdir=/tmp/ggnet_vcoco
             --config.init_from=ctdet_coco_hg.pth   (from scratch without it)
             --config.data.train_annotations=vcoco/annotations/trainval_vcoco.json
             --config.data.train_images=coco/train2014
             --config.data.eval_annotations=vcoco/annotations/test_vcoco.json
             --config.data.eval_images=coco/val2014
Hardware:  the paper's is not named; on 8 devices the batch of 7 becomes 8
Result:    not run
"""

from typing import Any

from configs import base


def get_config() -> Any:
    """Return the base configuration on V-COCO."""
    config = base.get_config()
    config.batch_size = 7
    config.round_batch = True
    config.learning_rate = 1.5e-5  # the paper's; the released script says 5e-5
    base.use_data_set(config, "v_coco")
    config.eval.protocol = "vcoco"
    return config
