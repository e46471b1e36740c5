"""What is saved comes back, and what a kill leaves behind does no harm."""

import os
import shutil
import signal
import socket
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from subprocesses import run_python, start_python

from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import checkpoints
from ggnet_jax.run_dir.checkpoints import Checkpoints


def state(value: float):
    """Variables and training state whose every array holds `value`."""
    variables = {
        "params": {"conv": {"kernel": jnp.full((3, 2), value), "bias": jnp.full((), value)}},
        "batch_stats": {"norm": {"mean": jnp.full((2,), value)}},
    }
    return variables, {"step": jnp.int32(value), "opt_state": {"0": {"mu": jnp.full(4, value)}}}


def test_round_trip(tmp_path):
    variables, training = state(7)
    with Checkpoints(tmp_path) as writer:
        assert writer.latest() is None
        writer.save(7, variables, training)
        writer.wait()
        assert writer.latest() == 7
        restored, rest, step = writer.restore()
    assert step == 7
    for found, expected in ((restored, variables), (rest, training)):
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert isinstance(a, np.ndarray)
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_every_float_bit_survives(tmp_path):
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    values[:4] = [np.float32(1e-45), -0.0, np.finfo(np.float32).max, 1 + np.float32(2**-23)]
    with Checkpoints(tmp_path) as writer:
        writer.save(1, {"params": {"a": values}}, {"half": values.astype(jnp.bfloat16)})
        writer.wait()
        variables, training, _ = writer.restore()
    assert variables["params"]["a"].tobytes() == values.tobytes()
    assert training["half"].tobytes() == values.astype(jnp.bfloat16).tobytes()


def test_keeps_the_newest(tmp_path):
    with Checkpoints(tmp_path, keep=2) as writer:
        for step in (5, 10, 15, 100):
            writer.save(step, *state(step))
    assert checkpoints.steps(tmp_path) == [15, 100]
    assert sorted(p.name for p in checkpoints.folder(tmp_path).iterdir()) == ["100", "15"]
    variables, step = checkpoints.load_variables(tmp_path)
    assert step == 100 and variables["params"]["conv"]["bias"] == 100
    variables, step = checkpoints.load_variables(tmp_path, 15)
    assert step == 15 and variables["params"]["conv"]["bias"] == 15


def test_variables_are_put_where_one_wants_them(tmp_path):
    with Checkpoints(tmp_path) as writer:
        writer.save(4, *state(4))
    plain, _ = checkpoints.load_variables(tmp_path)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = checkpoints.variable_shapes(tmp_path, sharding=sharding)
    put, step = checkpoints.load_variables(tmp_path, onto=shapes)
    assert step == 4
    assert jax.tree.structure(put) == jax.tree.structure(plain)
    for ours, theirs in zip(jax.tree.leaves(put), jax.tree.leaves(plain), strict=True):
        assert isinstance(ours, jax.Array) and isinstance(theirs, np.ndarray)
        np.testing.assert_array_equal(ours, theirs)


def test_shapes_are_known_without_the_arrays(tmp_path):
    with Checkpoints(tmp_path) as writer:
        writer.save(4, *state(4))
    variables, _ = checkpoints.load_variables(tmp_path)
    expected = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
    assert checkpoints.variable_shapes(tmp_path) == expected
    with pytest.raises(UserError, match="no checkpoint of step 5"):
        checkpoints.variable_shapes(tmp_path, 5)


def test_the_buffers_may_be_overwritten_after_save(tmp_path):
    """The next step is donated the buffers while the checkpoint is still being written."""
    overwrite = jax.jit(lambda tree: jax.tree.map(lambda a: a * 0 - 1, tree), donate_argnums=0)
    rows = jnp.tile(jnp.arange(512.0), (4096, 1))
    tree = {"params": {"a": rows}}
    with Checkpoints(tmp_path) as writer:
        for step in range(1, 4):
            tree = {"params": {"a": rows + step}}
            writer.save(step, tree, {"b": tree["params"]["a"]})
            jax.block_until_ready(overwrite(tree))
    for step in range(1, 4):
        variables, _ = checkpoints.load_variables(tmp_path, step)
        np.testing.assert_array_equal(variables["params"]["a"], rows + step)


def test_what_a_kill_leaves_is_ignored_and_removed(tmp_path):
    """Half a save and half a deletion; inference only ignores them, a writer may be at work."""
    with Checkpoints(tmp_path) as writer:
        writer.save(3, *state(3))
    place = checkpoints.folder(tmp_path)
    shutil.copytree(place / "3", place / "6.orbax-checkpoint-tmp")
    shutil.rmtree(place / "6.orbax-checkpoint-tmp" / "variables")
    shutil.copytree(place / "3", place / "dropped-1")
    assert checkpoints.steps(tmp_path) == [3]
    assert checkpoints.load_variables(tmp_path)[1] == 3
    assert len(list(place.iterdir())) == 3
    with Checkpoints(tmp_path) as writer:
        assert writer.latest() == 3
        assert [p.name for p in place.iterdir()] == ["3"]
        writer.save(6, *state(6))
    assert checkpoints.steps(tmp_path) == [3, 6]


KILLED = """
import os, signal, sys
import numpy as np
from ggnet_jax.run_dir.checkpoints import Checkpoints

def unlink(*args, count=iter(range(int(sys.argv[2]))), unlink=os.unlink, **options):
    if next(count, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    unlink(*args, **options)

with Checkpoints(sys.argv[1], keep=2) as writer:
    for step in (1, 2, 3):
        writer.save(step, {"params": {"a": np.arange(9.0)}}, {"step": np.int32(step)})
        if step == 2:
            writer.wait()
            os.unlink = unlink
"""


@pytest.mark.parametrize("files", [0, 3, 10])
def test_a_kill_while_an_old_checkpoint_is_deleted(tmp_path, files):
    """What is named by a step stays complete, whichever file the deletion has come to."""
    done = run_python("-c", KILLED, str(tmp_path), str(files))
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert checkpoints.steps(tmp_path) == [2, 3]
    assert len(list(checkpoints.folder(tmp_path).iterdir())) == 3
    with Checkpoints(tmp_path) as writer:
        assert [writer.restore(step)[2] for step in (2, 3)] == [2, 3]
    assert len(list(checkpoints.folder(tmp_path).iterdir())) == 2


PREEMPTED = """
import os, sys, time
from pathlib import Path
import jax, numpy as np
from jax.experimental.multihost_utils import reached_preemption_sync_point as stop_at
from ggnet_jax.run_dir.checkpoints import Checkpoints

folder, port, process = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
writer = Checkpoints(folder / "run")
last = (10, 8)[process]  # the first is ahead, as a host may be of its devices
for step in range(1, last + 1):
    stop_at(step)
    if step == 5:
        writer.save(5, {"params": {"a": np.zeros((2000, 2000))}}, {"step": np.int32(5)})
while not (folder / "run/checkpoints/5").exists():
    time.sleep(0.05)
time.sleep(2)  # whatever else is done at the end of a save
(folder / f"ready_{process}").touch()
while not (folder / "go").exists():
    time.sleep(0.05)
print("stop at", next((step for step in range(last + 1, 20) if stop_at(step)), None), flush=True)
os._exit(0)
"""


@pytest.mark.slow
def test_the_end_of_a_save_leaves_the_step_to_stop_at_alone(tmp_path):
    """A pod is taken away after an asynchronous save: all processes stop after the same step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (tmp_path / "run").mkdir()
    pair = [start_python("-c", PREEMPTED, str(tmp_path), port, str(k)) for k in (0, 1)]
    while not all((tmp_path / f"ready_{k}").exists() for k in (0, 1)):
        assert all(process.poll() is None for process in pair)
        time.sleep(0.05)
    pair[1].terminate()
    time.sleep(3)  # until they have agreed on a step
    (tmp_path / "go").touch()
    output = [process.communicate(timeout=60)[0] for process in pair]
    assert all("stop at 11" in text for text in output), output


def test_orbax_names_an_unfinished_save_otherwise(tmp_path, monkeypatch):
    """The one thing about Orbax that being safe against kills rests on."""
    renamed = []
    true_rename = os.rename

    def rename(source, target, **options):
        renamed.append((os.path.basename(str(source)), os.path.basename(str(target))))
        return true_rename(source, target, **options)

    monkeypatch.setattr(os, "rename", rename)
    with Checkpoints(tmp_path) as writer:
        writer.save(4, *state(4))
    assert renamed and not any(source.isdecimal() for source, _ in renamed)
    assert [target for _, target in renamed].count("4") == 1


def test_errors_name_what_there_is(tmp_path):
    with pytest.raises(UserError, match="no checkpoint; train first"):
        checkpoints.load_variables(tmp_path)
    with Checkpoints(tmp_path) as writer:
        writer.save(2, *state(2))
        writer.save(4, *state(4))
    with pytest.raises(UserError, match="no checkpoint of step 3; it has 2, 4"):
        checkpoints.load_variables(tmp_path, 3)
    shutil.rmtree(checkpoints.folder(tmp_path) / "4" / "variables")
    with pytest.raises(UserError, match=r"4 cannot be read .*; remove that folder"):
        checkpoints.load_variables(tmp_path)
    with pytest.raises(UserError, match="keep_checkpoints is 0"):
        Checkpoints(tmp_path, keep=0)
