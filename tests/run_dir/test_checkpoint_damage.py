"""What a disk, a copy or a person does to a checkpoint is noticed; what is a person's stays."""

import os
import random
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from subprocesses import run_python

from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import checkpoints, checksums
from ggnet_jax.run_dir.checkpoints import Checkpoints


def save(folder, *steps, keep=3, about=None, weight=None):
    """Checkpoints with a few kilobytes of weights."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((40, 30)).astype(np.float32) if weight is None else weight
    with Checkpoints(folder, keep=keep, about=about) as writer:
        for step in steps:
            writer.save(
                step,
                {"params": {"kernel": kernel, "bias": np.zeros(3, np.float32)}},
                {"step": np.int32(step), "opt_state": {"mu": rng.standard_normal(500)}},
            )
    return checkpoints.folder(folder)


def restore(folder):
    with Checkpoints(folder) as reader:
        return reader.restore()


def files_of(place):
    return sorted(path for path in place.rglob("*") if path.is_file() and path.stat().st_size)


@pytest.mark.parametrize("kind", ["flipped bit", "64 zeroed bytes"])
def test_damage_is_noticed(tmp_path, kind):
    """Anywhere in any file, the record of the checksums included."""
    place = save(tmp_path, 8) / "8"
    generator = random.Random(kind)
    for _ in range(12):
        path = generator.choice(files_of(place))
        good = path.read_bytes()
        bad = bytearray(good)
        while bad == good:
            at = generator.randrange(len(good))
            if kind == "flipped bit":
                bad[at] ^= 1 << generator.randrange(8)
            else:
                bad[at : at + 64] = bytes(len(bad[at : at + 64]))
        path.write_bytes(bad)
        with pytest.raises(
            UserError, match=r"checkpoint .*/8 (cannot be read|is of step)"
        ) as error:
            restore(tmp_path)
        assert len(str(error.value).splitlines()) == 1
        path.write_bytes(good)
    assert restore(tmp_path)[2] == 8


def test_inference_notices_damage_too(tmp_path):
    place = save(tmp_path, 8) / "8"
    largest = max(files_of(place / "variables"), key=lambda path: path.stat().st_size)
    with open(largest, "r+b") as file:
        file.seek(-7, os.SEEK_END)
        file.write(b"\x55")
    with pytest.raises(UserError, match=r"variables/.* is damaged.*; remove that folder to use"):
        checkpoints.load_variables(tmp_path)
    largest.unlink()
    with pytest.raises(UserError, match=r"variables/.* is missing"):
        checkpoints.load_variables(tmp_path)
    save(tmp_path / "other", 3)
    metadata = tmp_path / "other" / "checkpoints" / "3" / "variables" / "_METADATA"
    metadata.write_bytes(metadata.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"variables/_METADATA has \d+ bytes, \d+ were written"):
        checkpoints.variable_shapes(tmp_path / "other")


def test_a_checkpoint_without_a_record_is_read_as_before(tmp_path):
    place = save(tmp_path, 8, about={"seed": 5})
    assert checkpoints.about(tmp_path, 8) == {"seed": 5}
    (place / "8" / checksums.RECORD).unlink()
    assert restore(tmp_path)[2] == 8
    assert checkpoints.about(tmp_path, 8) == {}


@pytest.mark.parametrize("recorded", [True, False])
def test_another_folder_name_is_noticed(tmp_path, recorded):
    """Copied to a step that the run has not come to."""
    place = save(tmp_path, 4, 8)
    if not recorded:
        (place / "8" / checksums.RECORD).unlink()
    shutil.copytree(place / "8", place / "900")
    with pytest.raises(UserError, match="900 is of step 8 and not of 900; name the folder 8"):
        restore(tmp_path)
    if recorded:
        with pytest.raises(UserError, match="is of step 8"):
            checkpoints.load_variables(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_weights_that_are_not_finite_are_refused(tmp_path, value, dtype):
    kernel = np.ones((40, 30), dtype)
    kernel[3, 4] = value
    save(tmp_path, 8, weight=kernel)
    with pytest.raises(UserError, match="8: params/kernel holds values that are not finite"):
        checkpoints.load_variables(tmp_path)
    with pytest.raises(UserError, match="params/kernel"):
        restore(tmp_path)


def test_large_weights_are_finite(tmp_path):
    largest = np.finfo(np.float32).max
    save(tmp_path, 8, weight=np.full((40, 30), largest, np.float32))
    assert checkpoints.load_variables(tmp_path)[0]["params"]["kernel"].min() == largest


THEIRS = (
    "best", "7_keep", "007", "7 (copy)", "8.orbax-checkpoint-tmp-old", "dropped-best", "dropped-07",
    "+7", "7.0", "٧", "step_7", "5", "saving", "x.saving", ".trash",
)  # fmt: skip


def test_a_persons_own_folders_are_left_alone(tmp_path):
    """Also one named by a step that has no checkpoint in it, or more than a checkpoint."""
    place = save(tmp_path, 1)
    for name in THEIRS:
        (place / name).mkdir()
        (place / name / "mine").write_text("mine")
    (place / "notes.txt").write_text("mine")
    (place / "1" / "why.txt").write_text("the best one")
    shutil.copytree(place / "1", place / "2")  # a copy under another step
    (place / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    (place / "dropped-3").symlink_to(tmp_path, target_is_directory=True)
    assert checkpoints.steps(tmp_path) == [1, 2]
    save(tmp_path, 11, 12, 13, keep=1)
    assert checkpoints.steps(tmp_path) == [1, 2, 13]
    assert {entry.name for entry in place.iterdir()} == {
        *THEIRS, "notes.txt", "1", "2", "13", "elsewhere", "dropped-3",
    }  # fmt: skip
    assert all((place / name / "mine").read_text() == "mine" for name in THEIRS)


NAMES = ("a[1]", "b*", "c?", "d\\e", "new\nline", "ü 你", "p%41", "{x}", os.fsdecode(b"\xff"), "#h")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_path_will_do(tmp_path, name):
    """Orbax takes brackets for a glob pattern."""
    (tmp_path / "b1" / "checkpoints").mkdir(parents=True)  # what b* would also find
    folder = tmp_path / name
    folder.mkdir()
    save(folder, 1, 2, keep=1)
    assert checkpoints.steps(folder) == [2]
    variables, training, step = restore(folder)
    assert step == 2 and training["step"] == 2 and variables["params"]["kernel"].shape == (40, 30)
    shapes = checkpoints.variable_shapes(folder)
    assert shapes["params"]["kernel"].shape == (40, 30)


def test_a_checkpoint_is_read_back_before_an_older_one_goes(tmp_path, monkeypatch):
    """Whatever a file system or a library makes of what was written."""
    place = save(tmp_path, 1, keep=1)
    restore_part = checkpoints._restore

    def other(path, onto=None):
        found = restore_part(path, onto)
        if path.name == "training":
            found["opt_state/mu"] = np.nextafter(found["opt_state/mu"], 9)
        return found

    monkeypatch.setattr(checkpoints, "_restore", other)
    with pytest.raises(UserError, match=r"cannot save checkpoint 2 .*opt_state/mu; .*points: 1\."):
        save(tmp_path, 2, keep=1)
    assert [entry.name for entry in place.iterdir()] == ["1"]


FULL = """
import resource, sys
import numpy as np
from ggnet_jax.errors import UserError
from ggnet_jax.run_dir.checkpoints import Checkpoints

def save(step):
    rng = np.random.default_rng(step)
    with Checkpoints(sys.argv[1], keep=1) as writer:
        writer.save(step, {"params": {"a": rng.standard_normal(200000)}}, {"step": np.int32(step)})

save(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
try:
    save(2)
except UserError as error:
    print("refused:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
print("left", Checkpoints(sys.argv[1]).latest())
save(3)
"""


@pytest.mark.parametrize("room", [0, 30, 3000, 500_000])
def test_a_full_disk_costs_one_line_and_no_checkpoint(tmp_path, room):
    """A limit on the size of files stands for the disk, at several places of a save."""
    done = run_python("-c", FULL, str(tmp_path), str(room))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and lines[1] == "left 1", done.stdout
    assert lines[0].startswith("refused: cannot"), lines
    assert "Traceback" not in done.stderr, done.stderr
    assert checkpoints.steps(tmp_path) == [3]
    assert restore(tmp_path)[2] == 3


def test_a_file_where_the_checkpoints_should_be(tmp_path):
    checkpoints.folder(tmp_path).write_text("mine")
    with pytest.raises(UserError, match=r"cannot write to .*/checkpoints"):
        Checkpoints(tmp_path)
