"""From half the classes of the rendered data set to all of them with 100 images.

Paper:     none; section 4 starts from a detector of COCO's objects
Command:   python main.py --config=configs/fine_tuning.py:source --workdir=/tmp/half
           python main.py --config=configs/fine_tuning.py:tuned --workdir=/tmp/all
             --config.init_from=/tmp/half
           python -m benchmarks.fine_tuning   (all rows, three seeds, and the table)
Hardware:  two CPU cores
Result:    benchmarks/results/fine_tuning.md

    source    1000 images, annotated with the 10 classes of configs/half_of_figures.json
    scratch   100 other images and all 20 classes, from initial values
    tuned     the same, from `source`
    slow      the same, the backbone at a tenth of the learning rate
    frozen    the same, the backbone as it is

All but `source` have the same images, budget and schedule. The images are 96 x 96.
"""

from pathlib import Path
from typing import Any

from configs import demo

HALF = Path(__file__).with_name("half_of_figures.json")
ROWS: dict[str, dict[str, Any]] = {
    "source": {},
    "scratch": {},
    "tuned": {},
    "slow": {"backbone_lr_multiplier": 0.1},
    "frozen": {"freeze": "backbone"},
}


def get_config(name: str = "tuned") -> Any:
    """The demo's network at 96 x 96 on one of the two sets of images.

    Raises:
        ValueError: there is no such row.
    """
    if name not in ROWS:
        raise ValueError(f"no row {name!r}; there are {', '.join(ROWS)}")
    config = demo.get_config()
    config.log_every_steps = 10
    config.checkpoint_every_steps = 1000
    config.eval.pictures = 0
    config.data.image_size = (96, 96)
    config.data.figures.size = 96
    if name == "source":
        config.num_epochs = 5
        config.data.figures.num_test = 50  # only to see that it has learnt something
        config.data.figures.seed = 1  # other images than those below
        config.data.vocabulary = str(HALF)
        config.model.num_verbs = config.model.num_objects = 0  # the vocabulary's
        return config
    config.num_epochs = 20
    config.warmup_steps = 12
    config.data.figures.num_train = 100
    config.update(ROWS[name])
    return config
