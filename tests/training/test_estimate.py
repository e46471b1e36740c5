"""What a step needs, what there is, and what is refused or said before it is taken."""

from types import SimpleNamespace

import jax
import pytest
from tiny import training_config, verbs_of_object

from ggnet_jax.errors import UserError
from ggnet_jax.training import estimate, least_memory, loop
from ggnet_jax.training.estimate import GIB, Room
from ggnet_jax.training.host_memory import HostMemory, host_memory
from ggnet_jax.training.least_memory import check_least, convolution_bytes
from ggnet_jax.training.parallel import create_parallel
from ggnet_jax.training.step import BATCH_KEYS, batch_shapes

STATE = 2 * GIB


def analysis(images):
    """XLA's account of Hourglass-104 at 512 x 512, or nearly: 0.75 GiB and 1.5 for an image."""
    batch = estimate._bytes(batch_shapes(training_config(batch_size=images)))
    return SimpleNamespace(
        memory_analysis=lambda: SimpleNamespace(
            argument_size_in_bytes=STATE + batch,
            output_size_in_bytes=STATE + 64,
            alias_size_in_bytes=STATE,
            temp_size_in_bytes=int(GIB * (0.75 + 1.5 * images)),
            generated_code_size_in_bytes=0,
        )
    )


@pytest.fixture
def available(monkeypatch):
    """Sets how much of 64 GiB is free; `on_host` for a CPU."""

    def there(gib, on_host=True):
        room = Room(int(gib * GIB), 64 * GIB, on_host, 1)
        monkeypatch.setattr(estimate, "room", lambda: room)

    return there


def test_what_cannot_fit_is_refused_with_numbers(available):
    available(22)
    with pytest.raises(UserError) as error:
        estimate.check_memory(analysis(24), training_config(batch_size=24))
    said = str(error.value)
    assert "\n" not in said
    assert "a training step of 24 images needs at least 38.8 GiB" in said
    assert "22.0 GiB of 64.0 GiB are free on this host" in said
    for what in ("--config.accumulate_steps=3", "--mode=estimate", "--config.ignore_memory=True"):
        assert what in said
    for what in ("data.image_size", "model.remat=True"):
        assert f"--config.{what}" in said


def test_what_is_advised_fits(available):
    """The number of images, and the parts of the batch, in the message."""
    for free in (8, 12, 20, 30):
        available(free)
        with pytest.raises(UserError) as error:
            estimate.check_memory(analysis(24), training_config(batch_size=24))
        images = int(str(error.value).partition("about ")[2].split()[0])
        assert images >= 1
        estimate.check_memory(analysis(images), training_config(batch_size=images))
        room = estimate.room()
        memory = estimate.step_memory(analysis(images + 2), training_config(batch_size=images + 2))
        assert estimate.likely(memory, room, training_config(batch_size=images + 2)) > free * GIB
        parts = int(str(error.value).partition("accumulate_steps=")[2].split(",")[0])
        assert 24 % parts == 0 and 24 // parts <= images


def test_nothing_fits(available):
    available(3)
    with pytest.raises(UserError, match="not one image fits: use a smaller network"):
        estimate.check_memory(analysis(24), training_config(batch_size=24))


@pytest.mark.parametrize("on_host", [True, False])
def test_what_fits_is_not_refused(available, on_host):
    """Up to the very last byte of XLA's account; where it is short, that is said."""
    config = training_config(batch_size=4)
    memory = estimate.step_memory(analysis(4), config)
    exactly = memory.total / GIB
    available(exactly, on_host)
    said = estimate.check_memory(analysis(4), config)
    assert said.startswith("memory is short: a training step of 4 images needs at least 8.8 GiB")
    available(exactly - 0.001, on_host)
    with pytest.raises(UserError, match="this host" if on_host else "each device"):
        estimate.check_memory(analysis(4), config)
    config.ignore_memory = True
    assert "memory is short" in estimate.check_memory(analysis(4), config)
    available(40, on_host)
    assert estimate.check_memory(analysis(4), config) == ""


def test_no_account_refuses_nothing(available, monkeypatch):
    config = training_config()
    available(0)
    assert estimate.check_memory(SimpleNamespace(memory_analysis=lambda: None), config) == ""
    monkeypatch.setattr(estimate, "room", lambda: None)
    assert estimate.check_memory(analysis(4), config) == ""


def test_parts_of_a_batch():
    assert estimate.parts_that_fit(24, 13) == 2
    assert estimate.parts_that_fit(24, 11) == 3
    assert estimate.parts_that_fit(24, 1) == 24
    assert estimate.parts_that_fit(23, 22) == 23
    assert estimate.parts_that_fit(24, 0) is None


@pytest.mark.parametrize("name", ["jit", "pmap"])
def test_the_account_of_a_real_step(name):
    """The state is counted to the byte; the compiled step takes real states and batches."""
    config = training_config(parallel=name, model__gaze_steps=0, ema_decay=0.9)
    parallel = create_parallel(name)
    step_function, make_state = loop.build(config, verbs_of_object(), 10, parallel)
    compiled = estimate.compile_step(step_function, make_state, parallel, config)
    memory = estimate.step_memory(compiled, config)
    state = jax.eval_shape(make_state)
    assert memory.state == sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert memory.batch == estimate._bytes(batch_shapes(config))
    activation = 4 * 64 * 64 * 3 * config.batch_size
    assert activation < memory.temporary < 1000 * activation
    # What is told without compiling is less, and no trifle.
    least = convolution_bytes(state, config)
    assert memory.temporary / 5 < least < memory.temporary
    assert convolution_bytes(state, training_config(batch_size=8, model__gaze_steps=0)) == 2 * least


def test_what_is_certain_not_to_fit_is_refused_before_it_is_compiled(available, monkeypatch):
    """Up to the last byte; less for parts of a batch, nothing where outputs need not live."""
    monkeypatch.setattr(least_memory, "_LARGE", 0)
    config = training_config()
    parallel = create_parallel("jit")
    _, make_state = loop.build(config, verbs_of_object(), 10, parallel)
    state = jax.eval_shape(make_state)
    least = convolution_bytes(state, config)
    fixed = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    available((least + fixed) / GIB)
    check_least(make_state, config)
    available((least + fixed - 1) / GIB)
    with pytest.raises(UserError, match="a training step of 4 images needs at least") as error:
        check_least(make_state, config)
    said = str(error.value)
    assert "\n" not in said and "outputs of convolutions alone" in said
    for what in ("batch_size", "accumulate_steps", "data.image_size", "ignore_memory=True"):
        assert f"--config.{what}" in said
    assert convolution_bytes(state, training_config(accumulate_steps=2)) == least / 2
    for option in ({"accumulate_steps": 2}, {"freeze": "backbone"}, {"model__remat": True},
                   {"ignore_memory": True}):  # fmt: skip
        check_least(make_state, training_config(**option))
    available((fixed - 1) / GIB)
    with pytest.raises(UserError, match="weights and optimizer"):
        check_least(make_state, training_config(freeze="backbone"))
    available(0, on_host=False)  # an accelerator's compiler may well compute outputs again
    check_least(make_state, config)


def test_shapes_are_those_of_a_batch(tmp_path):
    """What is compiled for is what the input pipeline and the tests' own batches have."""
    from tiny import make_batch

    batch = make_batch(0, 4)
    for key, shape in batch_shapes(training_config(batch_size=4)).items():
        assert (shape.shape, shape.dtype) == (batch[key].shape, batch[key].dtype), key
    assert set(batch_shapes(training_config())) == set(BATCH_KEYS)


def test_a_run_that_does_not_fit_leaves_nothing(toy, tmp_path, monkeypatch):
    """Neither a folder nor a line of a log; with the switch it trains."""
    room = Room(10, 64 * GIB, True, 1)
    monkeypatch.setattr(estimate, "room", lambda: room)
    with pytest.raises(UserError, match="outputs of convolutions alone"):
        loop.train(training_config(), tmp_path / "run", toy.data)
    with monkeypatch.context() as without:
        without.setattr(loop, "check_least", lambda make_state, config: None)
        with pytest.raises(UserError, match=r"4 images needs at least .* activations, gradients"):
            loop.train(training_config(), tmp_path / "run", toy.data)
    assert not (tmp_path / "run").exists() and not toy.batches
    config = training_config(ignore_memory=True)
    assert loop.train(config, tmp_path / "run", toy.data).finished


def write(folder, **files):
    """Files by their path, with `__` for the slash."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MEMINFO = "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  800 kB\nSwapFree: 50 kB\nOdd: x\n"


@pytest.mark.parametrize(
    ("cgroup", "folder", "limit", "expected"),
    [
        ("0::/\n", "sys/fs/cgroup", 512_000, (512_000 - 300_000 + 100_000 + 51_200, 512_000)),
        ("0::/a/b\n", "sys/fs/cgroup/a", 512_000, (363_200, 512_000)),  # a parent's limit
        ("0::/not/here\n", "sys/fs/cgroup", 512_000, (363_200, 512_000)),
        ("0::/\n", "sys/fs/cgroup", "max", (850 * 1024, 1000 * 1024)),
        ("0::/\n", "elsewhere", 5, (850 * 1024, 1000 * 1024)),
        ("", "sys/fs/cgroup", 5, (850 * 1024, 1000 * 1024)),
        ("0::/\n", "sys/fs/cgroup", 100_000, (0, 100_000)),  # already over it
        ("0::/\n", "sys/fs/cgroup", 10**12, (850 * 1024, 1000 * 1024)),
    ],
)
def test_memory_of_the_host_and_its_control_groups(tmp_path, cgroup, folder, limit, expected):
    group = folder.replace("/", "__")
    write(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup=cgroup)
    files = {"max": limit, "current": 300_000 + (limit == 100_000) * 200_000}
    files["stat"] = "anon 5\ninactive_file 100000\n"
    for name, text in files.items():
        write(tmp_path, **{f"{group}__memory.{name}": str(text)})
    assert host_memory(tmp_path) == HostMemory(*expected)


def test_memory_of_version_1_groups(tmp_path):
    write(
        tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup="3:cpuset:/\n4:cpu,memory:/job\n0::/\n"
    )
    for name, text in {
        "limit_in_bytes": "400000", "usage_in_bytes": "350000", "stat": "total_inactive_file 7\n",
    }.items():  # fmt: skip
        write(tmp_path, **{f"sys__fs__cgroup__memory__job__memory.{name}": text})
    assert host_memory(tmp_path) == HostMemory(50_007 + 51_200, 400_000)
    assert host_memory(tmp_path / "nowhere") is None
