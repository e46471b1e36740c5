"""A run's folder: made, gone on with, and refused."""

import json

import pytest

from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import folder

CONFIG = {"seed": 1, "model": {"widths": (8, 8), "stacks": 1}, "data": {"name": "toy"}}


def test_new_folder(tmp_path):
    place = tmp_path / "a" / "b"
    assert folder.prepare(place, CONFIG, {"verbs": ["hold"]}) == []
    config = folder.read_config(place)
    assert config.model.widths == config["model"]["widths"] == (8, 8)
    assert folder.read_vocabulary(place) == {"verbs": ["hold"]}
    with pytest.raises(AttributeError, match="depth"):
        _ = config.model.depth
    assert sorted(p.name for p in place.iterdir()) == ["config.json", "vocabulary.json"]


def test_same_run_again(tmp_path):
    folder.prepare(tmp_path, CONFIG, {"verbs": ("hold",)})
    assert folder.prepare(tmp_path, CONFIG, {"verbs": ("hold",)}) == []
    changed = {**CONFIG, "seed": 2, "data": {"name": "toy", "shuffle": True}}
    assert folder.prepare(tmp_path, changed, {"verbs": ("hold",)}) == [
        "data.shuffle: None -> True",
        "seed: 1 -> 2",
    ]
    assert folder.read_config(tmp_path).seed == 2


def test_a_field_that_is_younger_than_the_run(tmp_path):
    folder.prepare(tmp_path, CONFIG, {"verbs": ["hold"]})
    newer = {**CONFIG, "model": {**CONFIG["model"], "aggregation": "none"}, "new_switch": False}
    assert folder.prepare(tmp_path, newer, {"verbs": ["hold"]}) == [
        "model.aggregation: None -> none"
    ]


def test_other_network_or_classes(tmp_path):
    folder.prepare(tmp_path, CONFIG, {"verbs": ["hold"]})
    other = {**CONFIG, "model": {"widths": (8, 16), "stacks": 1}}
    with pytest.raises(UserError, match=r"config.model.widths=\(8, 8\), not \(8, 16\)"):
        folder.prepare(tmp_path, other, {"verbs": ["hold"]})
    with pytest.raises(UserError, match="trained with other classes"):
        folder.prepare(tmp_path, CONFIG, {"verbs": ["drop"]})
    assert folder.read_config(tmp_path).model.widths == (8, 8)


def test_how_the_network_computes_may_change(tmp_path):
    """No weight depends on it: what a full memory is answered with must be possible."""
    before = {**CONFIG, "model": {**CONFIG["model"], "remat": False, "dtype": "float32"}}
    after = {**CONFIG, "model": {**CONFIG["model"], "remat": True, "dtype": "bfloat16"}}
    folder.prepare(tmp_path, before, {"verbs": ["hold"]})
    assert folder.prepare(tmp_path, after, {"verbs": ["hold"]}) == [
        "model.dtype: float32 -> bfloat16",
        "model.remat: False -> True",
    ]
    assert folder.read_config(tmp_path).model.remat is True


def test_killed_while_starting(tmp_path):
    """Between the folder and its first file, and between the two files."""
    (tmp_path / "config.json.unfinished").write_text('{"se')
    folder.prepare(tmp_path, CONFIG, {"verbs": ["hold"]})
    (tmp_path / "vocabulary.json").unlink()
    folder.prepare(tmp_path, CONFIG, {"verbs": ["hold"]})
    assert folder.read_vocabulary(tmp_path) == {"verbs": ["hold"]}


def test_not_a_run(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        folder.read_config(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        folder.read_config(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt"):
        folder.prepare(tmp_path, CONFIG, {})
    with pytest.raises(UserError, match="is a file"):
        folder.prepare(tmp_path / "notes.txt", CONFIG, {})
    with pytest.raises(UserError, match=r"notes\.txt is a file; give the folder of the run"):
        folder.require_run(tmp_path / "notes.txt")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG)[:20])
    with pytest.raises(UserError, match=r"config\.json is not JSON: .* folder of a run"):
        folder.read_config(tmp_path)


@pytest.mark.parametrize(
    "content", ["[]", "5", "null", '"x"', "{}", '{"model": 5}', '{"model": []}']
)
@pytest.mark.parametrize("name", ["config.json", "vocabulary.json"])
def test_json_that_is_something_else(tmp_path, name, content):
    """One line from whatever reads it."""
    folder.prepare(tmp_path, CONFIG, {"verbs": ["hold"]})
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=rf"{name} (is not|has no|differs)|{name}: 'model'|differs"):
        folder.prepare(tmp_path, CONFIG, {"verbs": ["hold"]})


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json"])
def test_a_folder_in_place_of_a_file(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"{name} is a folder"):
        folder.prepare(tmp_path, CONFIG, {"verbs": ["hold"]})
