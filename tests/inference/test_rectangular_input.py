"""Network inputs that are not square: from an image to targets and back to its own pixels.

A made scene says where everything is: colored rectangles whose pixels are looked for again.
"""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data_trees import own_config
from PIL import Image, ImageDraw
from subprocesses import run_python
from tiny import model_config

import data_pipelines
from ggnet_jax.inference.decoding import decode
from ggnet_jax.inference.external_detections import ExternalDetections
from ggnet_jax.inference.interactions import to_prediction_entry
from ggnet_jax.models import create_model
from ggnet_jax.models.outputs import Outputs
from ggnet_jax.training.targets import Annotations, render_targets

WIDE, TALL = (64, 160), (160, 64)  # height, width of the network's input
# Sizes of images (width, height) and, in their pixels, a person (red) and a dog (blue).
SCENES = {
    "landscape.png": ((320, 180), (40, 30, 110, 150), (190, 60, 290, 120)),
    "portrait.png": ((120, 260), (20, 40, 90, 130), (30, 150, 100, 230)),
    "square.png": ((200, 200), (30, 90, 80, 180), (100, 20, 180, 70)),
}
COLORS = ((255, 0, 0), (0, 0, 255))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "images").mkdir()
    entries, boxes = [], []
    for name, (size, *corners) in SCENES.items():
        image = Image.new("RGB", size, (90, 90, 90))
        for color, (x1, y1, x2, y2) in zip(COLORS, corners, strict=True):
            ImageDraw.Draw(image).rectangle((x1, y1, x2 - 1, y2 - 1), fill=color)
        image.save(folder / "images" / name)
        entries.append(
            {
                "file_name": name,
                "annotations": [
                    {"bbox": list(box), "category_id": 1 + k} for k, box in enumerate(corners)
                ],
                "hoi_annotation": [{"subject_id": 0, "object_id": 1, "category_id": 2}],
            }
        )
        boxes += [
            {
                "file_name": name, "category_id": 1 + k, "score": 0.9,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
            }
            for k, (x1, y1, x2, y2) in enumerate(corners)
        ]  # fmt: skip
    (folder / "boxes.json").write_text(json.dumps(boxes))
    config = own_config(folder, entries, entries)
    config.batch_size = config.eval.batch_size = len(SCENES)
    config.data.update(max_boxes=4, max_relations=3)
    return config, data_pipelines.load_dataset(config.data), folder / "boxes.json"


def where(image, color):
    """(x1, y1, x2, y2) of the pixels [H, W, 3] in 0..1 that are mostly red or mostly blue."""
    channel = int(np.argmax(color))
    rest = np.delete(image, channel, axis=-1).max(axis=-1)
    rows, columns = np.nonzero(image[..., channel] - rest > 0.5)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def targets_of(batch, dataset, size):
    """Drawn by a compiled program, as in training."""
    render = partial(
        render_targets,
        map_size=(size[0] // 4, size[1] // 4),
        num_verbs=2,
        num_objects=2,
        verbs_of_object=dataset.verbs_of_object,
    )
    return jax.jit(render)(Annotations(*(batch[name] for name in Annotations._fields)))


@jax.jit
def perfect_outputs(targets):
    """What a network says that has learned its targets by heart."""

    def spread(values, cells):
        empty = jnp.zeros((values.shape[0], height * width, values.shape[-1]))
        put = jax.vmap(lambda flat, cell, value: flat.at[cell].set(value))
        return put(empty, cells, values).reshape(-1, height, width, values.shape[-1])

    def logits(heat):
        heat = jnp.clip(heat, 1e-4, 1 - 1e-4)
        return jnp.log(heat / (1 - heat))

    height, width = targets.object_heatmap.shape[1:3]
    boxes = jnp.where(targets.box_valid, targets.box_cell, height * width)  # padding: dropped
    points = jnp.where(targets.relation_valid, targets.relation_cell, height * width)
    return Outputs(
        logits(targets.object_heatmap),
        spread(targets.box_size, boxes),
        spread(targets.center_offset, boxes),
        (logits(targets.glance_mask),),
        spread(targets.human_offset, points)[..., None, :],
        spread(targets.object_offset, points)[..., None, :],
        (),
    )


@pytest.mark.parametrize("size", [WIDE, TALL])
@pytest.mark.parametrize("external", [False, True])
def test_what_is_found_lies_where_it_is_in_the_image(scenes, size, external):
    """The object branch's boxes, and those of another detector, in the image's own pixels."""
    config, dataset, boxes = scenes
    config.data.image_size = size
    (batch,) = data_pipelines.eval_batches(dataset, config, "test")
    assert batch["image"].shape == (len(SCENES), *size, 3)
    outputs = perfect_outputs(targets_of(batch, dataset, size))
    given = None
    if external:
        truth = dataset.ground_truth("test")
        read = ExternalDetections.read(boxes, dataset.vocabulary, truth)
        given = read.batch(batch["image_id"], batch["size"], size)
        outputs = outputs._replace(  # which then must not matter
            object_logits=-outputs.object_logits, box_size=outputs.box_size * 0
        )
    found = jax.jit(partial(decode, top_k=10))(outputs, detections=given)
    found = jax.tree.map(np.asarray, found)
    for row, (name, ((width, height), human, obj)) in enumerate(SCENES.items()):
        entry = to_prediction_entry(
            found, row, dataset.vocabulary, file_name=name, width=width, height=height,
            input_size=size,
        )  # fmt: skip
        best = entry["hoi_prediction"][0]
        for key, box in (("subject_id", human), ("object_id", obj)):
            got = entry["predictions"][best[key]]["bbox"]
            np.testing.assert_allclose(got, box, atol=0.01)
        assert best["category_id"] == 2


@pytest.mark.parametrize("size", [WIDE, TALL])
@pytest.mark.parametrize("augment", [False, True])
def test_boxes_go_with_the_pixels(scenes, size, augment):
    """Evaluation's letterbox, and flip, scale and crop of training."""
    config, dataset, _ = scenes
    config.data.image_size = size
    config.data.augment.color = False
    batches = []
    if augment:
        stream = data_pipelines.train_batches(dataset, config)
        batches = [next(stream) for _ in range(4)]
    else:
        batches = list(data_pipelines.eval_batches(dataset, config, "test"))
    compared, limit = 0, np.array([size[1], size[0]] * 2)
    for batch in batches:
        scale = 1.0 if augment else 1 / 255
        for row in range(len(SCENES)):
            for k, color in enumerate(COLORS):
                box = batch["boxes"][row, k] * 4
                if (box < 2).any() or (box > limit - 2).any():
                    continue  # partly outside
                np.testing.assert_allclose(where(batch["image"][row] * scale, color), box, atol=1.6)
                compared += 1
    assert compared >= 6


@pytest.mark.parametrize("size", [WIDE, TALL])
def test_interaction_points_lie_halfway(scenes, size):
    config, dataset, _ = scenes
    config.data.image_size = size
    (batch,) = data_pipelines.eval_batches(dataset, config, "test")
    targets = targets_of(batch, dataset, size)
    centers = batch["boxes"][:, :2].reshape(-1, 2, 2, 2).mean(axis=2)  # [B, two boxes, (x, y)]
    cells = np.asarray(targets.relation_cell)[:, 0]
    points = np.stack([cells % (size[1] // 4), cells // (size[1] // 4)], axis=1)
    np.testing.assert_allclose(points, centers.mean(axis=1), atol=1.5)  # cut twice
    peaks = np.asarray(targets.glance_mask)[np.arange(len(cells)), points[:, 1], points[:, 0], 1]
    np.testing.assert_array_equal(peaks, 1.0)


@pytest.mark.parametrize("backbone", ["hourglass", "dla34"])
@pytest.mark.parametrize("size", [(64, 128), (128, 64)])
def test_maps_have_the_shape_of_the_input(backbone, size):
    """Every output of the whole network, without computing any."""
    model = create_model(model_config(backbone=backbone, aggregation="none"))
    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    outputs, _ = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x), images)
    for leaf in jax.tree.leaves(outputs):
        assert leaf.shape[1:3] == (size[0] // 4, size[1] // 4)


BACKBONES = [
    pytest.param([], "(48,80)", id="hourglass"),
    pytest.param(["--config.model.backbone=dla34"], "(32,64)", id="dla34"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("options", "size"), BACKBONES)
def test_train_evaluate_predict(tmp_path, options, size):
    """From the command line, with an image of another shape to predict on."""
    Image.new("RGB", (300, 170), (50, 120, 200)).save(tmp_path / "wide.png")
    run = f"--workdir={tmp_path / 'run'}"

    def call(*arguments):
        done = run_python("main.py", run, *arguments, cache=tmp_path / "cache", timeout=900)
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = call(
        "--config=tests/tiny_config.py", f"--config.data.data_dir={tmp_path / 'data'}",
        f"--config.data.image_size={size}", "--config.num_epochs=1",
        "--config.eval.pictures=0", "--config.model.gaze_steps=1", *options,
    )  # fmt: skip
    assert "mAP, percent" in printed
    call(
        "--mode=predict", f"--images={tmp_path / 'wide.png'}", f"--output={tmp_path / 'out'}",
        "--threshold=0",
    )  # fmt: skip
    (line,) = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert (found["width"], found["height"]) == (300, 170) and found["interactions"]
    for one in found["interactions"]:
        for x1, y1, x2, y2 in (one["human_box"], one["object_box"]):
            assert 0 <= x1 < x2 <= 300 and 0 <= y1 < y2 <= 170
    with Image.open(tmp_path / "out" / "wide.png") as drawing:
        assert drawing.size[0] >= 300
