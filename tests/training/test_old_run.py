"""A workdir that an older revision wrote: it opens, detects, evaluates, predicts and goes on."""

import json
import zipfile

import numpy as np
import old_run
import pytest
from fake_split import FakeSplit
from PIL import Image

from configs import base
from ggnet_jax import Detector
from ggnet_jax.cli import modes
from ggnet_jax.config import ModelConfig
from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import folder as run_folder
from ggnet_jax.training import loop
from ggnet_jax.vocabularies import Vocabulary

VOCABULARY = Vocabulary(**old_run.VOCABULARY)


@pytest.fixture
def run(tmp_path):
    """The workdir as it was left."""
    with zipfile.ZipFile(old_run.ARCHIVE) as archive:
        archive.extractall(tmp_path)
    return tmp_path / old_run.WORKDIR


def change_model(run, **changes):
    """Edit `model` in config.json; None takes a field away."""
    path = run / run_folder.CONFIG
    config = json.loads(path.read_text())
    model = config["model"] | changes
    config["model"] = {name: value for name, value in model.items() if value is not None}
    path.write_text(json.dumps(config))


@pytest.fixture
def expected(run):
    """What the older revision found and logged."""
    return json.loads((run.parent / old_run.EXPECTED).read_text())


def test_its_network_is_the_one_it_was(run):
    """Without the retired field, and without one that is younger than the run."""
    assert "deform_conv" in json.loads((run / run_folder.CONFIG).read_text())["model"]
    config = run_folder.read_config(run)
    assert config.model == old_run.configure(base.get_config(), num_epochs=1).model.to_dict() | {
        "num_verbs": VOCABULARY.num_verbs,
        "num_objects": VOCABULARY.num_objects,
    }
    network = ModelConfig.from_fields(config.model)
    change_model(run, aggregation=None)
    assert ModelConfig.from_fields(run_folder.read_config(run).model) == network


def test_a_field_that_nobody_knows_is_refused(run):
    change_model(run, deform_konv="auto")
    with pytest.raises(UserError, match=r"config\.model has no field 'deform_konv'; it has act_po"):
        Detector.load(run)


@pytest.mark.parametrize("aggregation", ["none", None])
def test_finds_what_it_found(run, expected, aggregation):
    change_model(run, aggregation=aggregation)
    found = Detector.load(run).detect(old_run.make_image(), threshold=0.0)
    for one, other in zip(found, expected["found"], strict=False):
        described = old_run.describe(one)
        for name, value in other.items():
            if isinstance(value, str):
                assert described[name] == value
            else:
                np.testing.assert_allclose(described[name], value, rtol=1e-3, err_msg=name)
    assert len(expected["found"]) == old_run.FOUND


def test_evaluates_and_predicts(run, tmp_path, capsys):
    assert modes.evaluate(None, run, None, FakeSplit(3, vocabulary=VOCABULARY)) == 0
    assert f"checkpoint of step {old_run.STEPS}, 3 images" in capsys.readouterr().out
    Image.fromarray(old_run.make_image()).save(tmp_path / "noise.png")
    assert modes.predict(run, str(tmp_path / "noise.png"), str(tmp_path / "out"), None, 0.0) == 0
    assert (tmp_path / "out" / "noise.png").is_file()


def test_goes_on_as_it_would_have(run, expected, capsys):
    """The same command, without the retired field: the next steps' losses are the old ones."""
    config = old_run.configure(base.get_config(), num_epochs=old_run.EPOCHS + 1)
    result = loop.train(config, run, old_run.Data(VOCABULARY))
    assert result == loop.TrainResult(old_run.STEPS + old_run.STEPS_PER_EPOCH, True)
    said = capsys.readouterr().out
    assert f"resuming {run} at step {old_run.STEPS}" in said
    changes = [line for line in said.splitlines() if line.startswith("differs")]
    changes = [line for line in changes if ": None -> " not in line]  # of fields that are younger
    assert changes == ["differs from the run so far: num_epochs: 30 -> 31"]
    entries = [json.loads(line) for line in (run / run_folder.LOG).read_text().splitlines()]
    entries = [entry for entry in entries if entry["step"] > old_run.STEPS]
    assert len(entries) == len(expected["log"]) == old_run.STEPS_PER_EPOCH
    for entry, old in zip(entries, expected["log"], strict=True):
        assert entry.keys() == old.keys()
        for name in old.keys() - {"images_per_second"}:
            assert entry[name] == pytest.approx(old[name], rel=1e-3), (entry["step"], name)
