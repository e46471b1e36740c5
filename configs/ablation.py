"""A row of the paper's Tables 1 to 3 on the rendered data set, small enough for two CPU cores.

Paper:     section 4.2, Tables 1 to 3: configs/paper.py has the rows and the paper's numbers
Command:   python main.py --config=configs/ablation.py:table1_full --workdir=/tmp/table1_full
           python -m benchmarks.ablation   (all rows, five seeds, and the tables)
Hardware:  two CPU cores, or one GPU
Result:    GGNet 76.0 mAP against the baseline's 74.4, five seeds, 88.1 against 86.9 on the classes
           that are not rare; all rows: benchmarks/results/ablation.md

Every row has this budget, this schedule and these images. Nothing is set for one row alone. 4
epochs, so that the baseline is not saturated (3: 70.5 mAP, 83.7 on the classes that are not rare;
5: 78.5 and 91.9; 1,000 test images, no average of weights).
"""

from typing import Any

from configs import demo, paper


def get_config(name: str = "table1_full") -> Any:
    """The row `name` of configs/paper.py, with the demo's network and 25 ActPoints.

    Raises:
        ValueError: there is no such row.
    """
    config = demo.get_config()
    config.num_epochs = 4
    config.log_every_steps = 10
    config.checkpoint_every_steps = 125
    config.eval.pictures = 0

    # More images than the demo: the rare classes stay as rare, and their AP is less noisy, with 100
    # test pairs each. So are averaged weights.
    config.data.figures.num_train = 2000
    config.data.figures.num_test = 5000
    config.ema_decay = 0.99

    config.model.act_points = 25
    paper.apply(config, name)
    return config
