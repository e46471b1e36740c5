"""The README's first line learns: its mAP beside that of the untrained network and of chance."""

import json
import random
import re

import pytest

from ggnet_jax.evaluation import hico
from tests.subprocesses import run_python

# Measured with seed 0 on two CPU cores, see configs/demo.py; the floor leaves room for other
# processors' rounding.
FLOOR = 70.0


def full_map(result) -> float:
    return 100 * result["default"].means["full"]


def shuffle_verbs(predictions, vocabulary, seed=0):
    """The same boxes and scores with the verbs dealt anew among the verbs known for the object."""
    generator = random.Random(seed)
    verbs = {
        object_id: [vocabulary.verb_ids[v] for v, o in vocabulary.classes if o == index]
        for index, object_id in enumerate(vocabulary.object_ids)
    }
    shuffled = json.loads(json.dumps(predictions))
    for image in shuffled:
        for pair in image["hoi_prediction"]:
            object_id = image["predictions"][pair["object_id"]]["category_id"]
            pair["category_id"] = generator.choice(verbs[object_id])
    return shuffled


@pytest.mark.slow
def test_the_demo_learns(tmp_path):
    from configs import demo
    from data_pipelines import load_dataset

    command = ["main.py", "--config=configs/demo.py", f"--config.data.data_dir={tmp_path}/data"]
    trained = tmp_path / "trained"
    run = run_python(*command, f"--workdir={trained}", timeout=2400, optimize=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "mAP, percent" in run.stdout
    drawings = re.findall(r"^ +(/.*\.png)$", run.stdout, re.MULTILINE)
    assert len(drawings) >= 6
    # An epoch with a learning rate of zero: what the network says before it has learnt.
    untrained = tmp_path / "untrained"
    run = run_python(
        *command, f"--workdir={untrained}", "--config.learning_rate=0", "--config.num_epochs=1",
        "--config.eval.pictures=0", timeout=1200, optimize=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]

    config = demo.get_config()
    config.data.data_dir = f"{tmp_path}/data"
    dataset = load_dataset(config.data)
    truth = dataset.ground_truth("test")

    def score(predictions):
        return full_map(hico.evaluate(predictions, truth, dataset.vocabulary))

    predictions = json.loads((trained / "evaluation" / "predictions.json").read_text())
    values = {
        "trained": score(predictions),
        "verbs shuffled": score(shuffle_verbs(predictions, dataset.vocabulary)),
        "untrained": score(json.loads((untrained / "evaluation/predictions.json").read_text())),
    }
    print(values)
    assert values["trained"] > FLOOR, values
    assert values["untrained"] < 1, values
    assert values["verbs shuffled"] < values["trained"] - 20, values
