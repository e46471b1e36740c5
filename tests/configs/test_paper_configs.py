"""Every row of the paper's tables: it builds, a tiny version trains, it is what the paper says."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subprocesses import run_python
from tiny import NUM_VERBS, make_batch, training_config, verbs_of_object

import data_pipelines
from configs import ablation, hico, paper, vcoco
from ggnet_jax.cli import modes
from ggnet_jax.config import ModelConfig
from ggnet_jax.errors import UserError
from ggnet_jax.models import create_model
from ggnet_jax.models.aggregation import AggregatedGlance, at_center
from ggnet_jax.training import loop
from ggnet_jax.training.parallel import MeshParallel

TABLE = Path(__file__).parents[2] / "benchmarks" / "results" / "parameters.md"
FAST = ("table1_full", "table3_both", "table3_act_points")  # their networks differ most
COLUMNS = ("total", "backbone", "objects", "interactions", "matching")


def counted():
    """{row: {column: number of parameters}} of the table that is kept."""
    rows = {}
    for line in TABLE.read_text().splitlines():
        if line.startswith("| `"):
            name, _, _, *numbers = (cell.strip(" `") for cell in line.strip("|").split("|"))
            rows[name] = dict(zip(COLUMNS, (int(n.replace(",", "")) for n in numbers), strict=True))
    return rows


def count(config):
    """Parameters of a network by part; "interactions" and "matching" are those of all stacks."""
    model = create_model(config)
    images = jnp.zeros((1, 128, 128, 3))  # the smallest that Hourglass-104 takes
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    heads = [params[name] for name in params if name.startswith("heads")]

    def size(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    parts = {name: sum(size(head[name]) for head in heads) for name in COLUMNS[2:]}
    return {"total": size(params), "backbone": size(params["backbone"]), **parts}


def models():
    """{a row: all rows that share its model}, in the tables' order."""
    found = {}
    for name in paper.ROWS:
        found.setdefault(paper.get_config(name).model.to_json(), []).append(name)
    return {names[0]: names for names in found.values()}


def test_the_table_has_every_row():
    assert counted().keys() == paper.ROWS.keys()


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        pytest.param(name, rows, marks=() if {*FAST} & {*rows} else pytest.mark.slow, id=name)
        for name, rows in models().items()
    ],
)
def test_a_row_builds_and_has_the_parameters_of_the_table(name, rows):
    table, found = counted(), count(paper.get_config(name).model)
    for row in rows:
        assert table[row] == found, row


def test_differences_in_parameters_are_those_of_the_layers():
    """Counted by hand from the paper's section 3.2, for two stacks."""
    verbs, width = 25, 256

    def conv(kernel, inputs, outputs):
        return kernel**2 * inputs * outputs + outputs

    def step(side, sampled=True):
        points = conv(side, width, 3 * side**2) + conv(side, width, width)
        return points + (conv(3, width, width) if sampled else 0)

    total = {name: row["total"] for name, row in counted().items()}
    baseline, full = total["table1_baseline"], total["table1_full"]
    assert total["table1_hna"] == baseline  # a loss has no parameters
    apm = 2 * (conv(1, width, 2 * verbs) - conv(1, width, 2))
    assert total["table1_without_gaze"] - baseline == 2 * apm
    classifier = conv(1, width, verbs)
    assert full - total["table1_without_gaze2"] == 2 * (step(5) + classifier)
    assert total["table2_points49"] - total["table2_points9"] == 2 * (step(7) - step(3))
    assert full - total["table2_shared"] == 2 * conv(3, width, width)
    # One more classifier's inputs a center; the deformable convolution samples F0 itself.
    assert total["table3_human"] - baseline == 2 * width * verbs
    assert total["table3_both"] - baseline == 4 * width * verbs
    assert total["table3_act_points"] - baseline == 2 * step(5, sampled=False)


def test_rows_are_the_papers(shared_dir):
    """Table 1 as the notes on the paper have it: crosses and numbers."""
    rows = {}
    for line in (shared_dir / "paper.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and re.fullmatch(r"\d\d\.\d\d", cells[5]):
            rows[float(cells[5]), float(cells[6])] = [cell == "x" for cell in cells[1:5]]
    assert len(rows) == 8
    names = [name for name in paper.ROWS if name.startswith("table1")]
    for name in names:
        figures = paper.ROWS[name].paper
        hna, gaze1, gaze2, apm = rows[figures["v_coco"], figures["hico_det"]]
        config = paper.get_config(name)
        assert (config.loss.interaction == "hna") == hna
        assert config.model.gaze_steps == gaze1 + gaze2
        assert config.model.per_verb_offsets == apm
    assert len(names) == 16  # on two data sets
    text = (shared_dir / "paper.md").read_text()
    for name, row in paper.ROWS.items():
        for figure in row.paper.values():
            assert f"{figure:.2f}" in text or f"{figure:.1f}" in text, (name, figure)


@pytest.mark.parametrize("name", paper.ROWS)
def test_a_row_differs_in_what_it_says_alone(name):
    start = {"vcoco": vcoco, "hico": hico, "hico_dla34": hico}[paper.setting(name)].get_config()
    config = paper.get_config(name)
    said = dict(paper.differences(name))
    if paper.setting(name) == "hico_dla34":
        said["model.backbone"] = "dla34"
    for part in start:
        before, after = start[part], config[part]
        if not hasattr(before, "items"):
            assert before == after
            continue
        for field, value in before.items():
            assert after[field] == said.pop(f"{part}.{field}", value)
    assert not said


def test_no_two_rows_of_a_table_are_the_same_unless_they_say_so():
    seen = {}
    for name in paper.ROWS:
        content = paper.get_config(name).to_json()
        first = seen.setdefault(content, name)
        assert (paper.original(name) == first) or (first == name)


def test_every_row_of_the_ablation_has_the_same_budget_and_images():
    """Rows differ in the network and the loss of the interactions, in nothing else."""
    plain = ablation.get_config().to_dict()
    for name in ("table1_baseline", "table2_shared", "table3_both"):
        other = ablation.get_config(name).to_dict()
        for part in plain.keys() - {"model", "loss"}:
            assert other[part] == plain[part], (name, part)
        assert {k for k in plain["loss"] if plain["loss"][k] != other["loss"][k]} <= {"interaction"}
        sizes = ("backbone", "stem_width", "widths", "blocks", "stacks", "head_width", "dtype")
        assert all(other["model"][field] == plain["model"][field] for field in sizes)


def test_an_unknown_row_is_answered_with_the_rows():
    with pytest.raises(ValueError, match=r"no row 'table9'.*table3_both"):
        paper.get_config("table9")
    said = run_python(
        "main.py", "--config=configs/paper.py:table1_fulll", "--workdir=/nowhere", timeout=60
    )
    assert said.returncode == 2
    assert "no row 'table1_fulll'" in said.stderr and "Traceback" not in said.stderr


def structures():
    """The first row of each network or loss that differs from all before."""
    found = {}
    for name in paper.ROWS:
        if paper.setting(name) != "hico_dla34":
            changes = {k: v for k, v in paper.differences(name).items() if k[:5] != "eval."}
            found.setdefault(str(sorted(changes.items())), name)
    return list(found.values())


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in structures()],
)
def test_a_tiny_version_takes_a_step(name):
    """Every parameter is reached by the loss, and the last prediction is the interaction loss."""
    config = training_config()
    paper.apply(config, name)
    parallel = MeshParallel(jax.devices()[:1])
    step, make_state = loop.build(config, verbs_of_object(), 4, parallel)
    shapes = jax.eval_shape(make_state)
    rng = np.random.default_rng(0)  # compiling the network's own start would take longer

    def start(path, leaf):
        if path[-1].key == "kernel":
            return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)
        value = {"scale": 1.0, "var": 1.0, "bias": 0.1}.get(path[-1].key, 0.0)
        return np.full(leaf.shape, value, leaf.dtype)

    params = jax.tree_util.tree_map_with_path(start, shapes.params)
    statistics = jax.tree_util.tree_map_with_path(start, shapes.batch_stats)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes.opt_state)
    state = shapes.replace(
        step=np.zeros((), np.int32), params=params, batch_stats=statistics, opt_state=zeros
    )
    state, batch = parallel.put_state(state), parallel.put_batch(make_batch(0, 2))
    after, metrics = step(state, batch)
    assert bool(metrics["finite"])
    moved = jax.tree.map(lambda a, b: bool(np.any(np.asarray(a) != b)), after.params, params)
    still = [jax.tree_util.keystr(path) for path, m in jax.tree.leaves_with_path(moved) if not m]
    assert not still
    steps = [term for term in metrics if term.startswith("gaze")]
    assert steps == [f"gaze{k + 1}" for k in range(config.model.gaze_steps)]


def test_centers_are_read_where_the_offsets_point():
    """Against bilinear interpolation written out for one pixel at a time."""
    rng = np.random.default_rng(0)
    feature = rng.normal(size=(2, 5, 7, 3)).astype(np.float32)
    offset = rng.uniform(-4, 4, (2, 5, 7, 1, 2)).astype(np.float32)
    found = np.asarray(jax.jit(at_center)(feature, offset))
    padded = np.pad(feature, ((0, 0), (9, 9), (9, 9), (0, 0)))
    for b, y, x in np.ndindex(2, 5, 7):
        px, py = x - offset[b, y, x, 0, 0] + 9, y - offset[b, y, x, 0, 1] + 9
        left, top = int(np.floor(px)), int(np.floor(py))
        fx, fy = px - left, py - top
        corners = padded[b, top : top + 2, left : left + 2]
        expected = np.einsum("i,j,ijc->c", [1 - fy, fy], [1 - fx, fx], corners)
        np.testing.assert_allclose(found[b, y, x], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("structure", "sides"), [("human", "h"), ("object", "o"), ("both", "ho"), ("act_points", "")]
)
def test_a_structure_reads_the_centers_that_it_is_named_after(structure, sides):
    """And hands the matching offsets no gradient: they stay centers."""
    rng = np.random.default_rng(1)
    feature = rng.normal(size=(1, 6, 6, 4)).astype(np.float32)
    offsets = [rng.uniform(-2, 2, (1, 6, 6, 1, 2)).astype(np.float32) for _ in "ho"]
    module = AggregatedGlance(
        ModelConfig(
            head_width=4,
            num_verbs=NUM_VERBS,
            gaze_steps=0,
            act_points=9,
            per_verb_offsets=False,
            aggregation=structure,
        )
    )
    variables = jax.jit(module.init)(jax.random.key(0), feature, *offsets)
    apply = jax.jit(module.apply)
    logits, points = apply(variables, feature, *offsets)
    assert logits.shape == (1, 6, 6, NUM_VERBS)
    assert len(points) == (structure == "act_points")
    for i, side in enumerate("ho"):
        moved = [offset + (i == k) for k, offset in enumerate(offsets)]
        changed = not np.allclose(apply(variables, feature, *moved)[0], logits)
        assert changed == (side in sides)
    gradient = jax.jit(
        jax.grad(lambda pair: jnp.sum(module.apply(variables, feature, *pair)[0] ** 2))
    )
    for leaf in gradient(offsets):
        np.testing.assert_array_equal(leaf, 0)


def test_aggregation_stands_on_the_baseline_alone():
    config = paper.get_config("table3_both").model
    for field, value in (("gaze_steps", 1), ("per_verb_offsets", True), ("aggregation", "all")):
        wrong = config.copy_and_resolve_references()
        wrong[field] = value
        with pytest.raises(ValueError, match=r"model\.aggregation"):
            create_model(wrong)


def test_a_row_with_external_detections_asks_for_its_file_before_it_trains(tmp_path):
    config = paper.get_config("table5_ggnet_detections")
    with pytest.raises(UserError, match=r"eval\.detections.*detections\.json"):
        modes.train(config, tmp_path / "run", data_pipelines)
    assert not (tmp_path / "run").exists()
