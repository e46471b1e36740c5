"""Random damage to the evaluators' files: read, reported or refused in one line; never silent."""

import copy
import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from evaluation_scenes import SMALL, random_scenes

from ggnet_jax.evaluation import hico, vcoco
from ggnet_jax.io import read_json

CHANGES = 40  # of each file, and of its bytes
WRONG = [None, True, False, "", "x", [], {}, [[]], 10**20, 10**400, float("nan"),
         -float("inf"), "\ud800", 1e300]  # fmt: skip


def hico_files():
    predictions, ground_truth = random_scenes(1, images=8)
    files = {"predictions": predictions, "ground_truth": ground_truth}
    return hico, files | {"vocabulary": SMALL.to_dict()}


def vcoco_files():
    fixture = read_json(Path(__file__).parents[1] / "fixtures" / "evaluation_vcoco.json.gz")
    vsrl = fixture["ground_truth"]
    kept = sorted({number for action in vsrl for number in action["image_id"]})[:12]
    for action in vsrl:
        rows = [k for k, number in enumerate(action["image_id"]) if number in kept]
        roles = np.reshape(action["role_object_id"], (len(action["role_name"]), -1))
        action["role_object_id"] = roles[:, rows].ravel().tolist()
        for key in ("image_id", "ann_id", "label"):
            action[key] = [action[key][row] for row in rows]
    instances = {
        "images": [one for one in fixture["instances"]["images"] if one["id"] in kept],
        "annotations": [a for a in fixture["instances"]["annotations"] if a["image_id"] in kept],
    }
    predictions = [
        entry for entry in fixture["predictions"] if vcoco.image_key(entry["file_name"]) in kept
    ]
    return vcoco, {"predictions": predictions, "ground_truth": vsrl, "instances": instances}


FILES = {"hico": hico_files, "vcoco": vcoco_files}
CASES = [("hico", "predictions"), ("hico", "ground_truth"), ("hico", "vocabulary"),
         ("vcoco", "predictions"), ("vcoco", "ground_truth"), ("vcoco", "instances")]  # fmt: skip


def places(value, at=()):
    """The keys to every value inside of one, by depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*at, key)
        if isinstance(item, dict | list):
            yield from places(item, (*at, key))


def damaged(value, rng):
    """A copy in which one value is none that its key can have, or a key or item is missing."""
    value = copy.deepcopy(value)
    by_depth = {}
    for place in places(value):
        by_depth.setdefault(len(place), []).append(place)
    choices = by_depth[rng.choice(sorted(by_depth))]
    *way, last = choices[rng.integers(len(choices))]
    item = value
    for key in way:
        item = item[key]
    if isinstance(item, dict) and rng.random() < 0.3:
        item[f"{last}s"] = item.pop(last)
    else:
        item[last] = WRONG[rng.integers(len(WRONG))]
    return value


def run(evaluator, paths, capsys):
    """Exit status, the tables and what is said beside them."""
    status = evaluator.main([f"--{name}={path}" for name, path in paths.items()])
    said = capsys.readouterr()
    if status:
        assert (status, said.out, said.err.count("\n")) == (2, "", 1), said.err
        assert said.err.startswith("error: ") and len(said.err) < 700
        return status, [], []
    assert said.err == ""
    blocks = said.out.strip().split("\n\n")
    scores = [block for block in blocks if block.startswith(("mAP", "AP"))]
    heads = [block.split("\n")[0] for block in scores]
    return status, scores, [block for block in blocks if block not in scores] + heads


@pytest.mark.parametrize(("name", "target"), CASES)
def test_no_damage_is_silent_or_a_traceback(name, target, tmp_path, capsys):
    evaluator, files = FILES[name]()
    paths = {key: tmp_path / f"{key}.json" for key in files}
    for key, path in paths.items():
        path.write_text(json.dumps(files[key]))
    _, scores, told = run(evaluator, paths, capsys)
    assert scores
    rng, seen = np.random.default_rng(0), Counter()
    for _ in range(CHANGES):
        paths[target].write_text(json.dumps(damaged(files[target], rng)))
        status, now, also = run(evaluator, paths, capsys)
        assert status or now == scores or also != told, "other scores without a word"
        seen["refused" if status else "read"] += 1
    assert seen["refused"] > CHANGES / 4
    whole = json.dumps(files[target]).encode()
    for k in range(CHANGES):
        data = bytearray(gzip.compress(whole) if k % 2 else whole)
        cut = rng.integers(1, len(data))
        if k % 4 < 2:
            data = data[:cut]
        else:
            data[cut] = 0x80 | rng.integers(128)  # no byte of ASCII
        paths[target].write_bytes(data)
        status, now, _ = run(evaluator, paths, capsys)
        assert status or now == scores
