"""The Detector: what comes back for an image, a list of them, and with heatmaps."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from tiny import VOCABULARY, make_run

import ggnet_jax
from ggnet_jax.errors import UserError
from ggnet_jax.inference import detection, geometry
from ggnet_jax.inference.box_formats import to_coco_results
from ggnet_jax.inference.detector import Detector
from ggnet_jax.inference.network import Network


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), steps=(3, 7))


@pytest.fixture(scope="module")
def detector(run):
    return Detector.load(run, batch_size=2)


def random_image(width=90, height=50, seed=0) -> np.ndarray:
    """Smooth random colors."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def test_detect_gives_interactions_by_descending_score(detector):
    found = detector.detect(random_image(), threshold=0.0)
    assert found
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    for one in found:
        pair = VOCABULARY.verbs.index(one.verb), VOCABULARY.objects.index(one.object)
        assert pair in VOCABULARY.classes
        assert one.score == pytest.approx(
            one.verb_score * one.human_score * one.object_score, rel=1e-4
        )
        assert len(one.act_points) == 2
        assert all(p.shape == (9, 2) and w.shape == (9,) for p, w in one.act_points)
        x1, y1, x2, y2 = one.human_box
        assert 0 <= x1 < x2 and 0 <= y1 < y2 and x2 - x1 <= 90 and y2 - y1 <= 50
    middle = scores[len(scores) // 2]
    above = detector.detect(random_image(), threshold=middle)
    assert [one.score for one in above] == [score for score in scores if score >= middle]
    assert len(detector.detect(random_image(), threshold=0.0, top_k=1)) == 1


def test_another_dtype_than_that_of_training(run, detector):
    """Rounded, so scores differ by a little, and not by nothing."""
    image = random_image()

    def by_boxes(found):
        boxes = ((*np.round(one.human_box), *np.round(one.object_box)) for one in found)
        return {(one.label, *box): one.score for one, box in zip(found, boxes, strict=True)}

    coarse = Detector.load(run, dtype="bfloat16").detect(image, threshold=0.0)
    fine = detector.detect(image, threshold=0.0)
    coarse_scores, fine_scores = by_boxes(coarse), by_boxes(fine)
    both = coarse_scores.keys() & fine_scores.keys()
    assert len(both) > 5
    got, want = np.transpose([(coarse_scores[key], fine_scores[key]) for key in both])
    np.testing.assert_allclose(got, want, rtol=0.1)
    assert np.abs(got / want - 1).max() > 1e-4
    same = Detector.load(run, dtype="float32").detect(image, threshold=0.0)
    assert [one.score for one in same] == [one.score for one in fine]
    with pytest.raises(UserError, match=r"config\.model\.dtype is 'half'"):
        Detector.load(run, dtype="half")


def test_a_list_gives_what_single_calls_give(detector):
    images = [
        random_image(90, 50, 0),
        random_image(50, 90, 1),
        random_image(64, 64, 2),
    ]  # batches of 2 and 1
    together = detector.detect(images, threshold=0.0)
    assert len(together) == 3
    for array, found in zip(images, together, strict=True):
        alone = detector.detect(array, threshold=0.0)
        np.testing.assert_allclose(
            [one.score for one in found], [one.score for one in alone], rtol=1e-3
        )
    assert detector.detect([], threshold=0.0) == []
    stack = np.stack([images[0], images[0]])
    assert len(detector.detect(stack)) == 2


def test_a_long_list_keeps_its_order_and_its_errors(detector, tmp_path):
    """Images are prefetched by threads: it must not show."""
    sizes = [(90, 50), (50, 90), (64, 64), (33, 71), (20, 20), (100, 30), (41, 40), (80, 81)]
    images = [random_image(*size, number) for number, size in enumerate(sizes)]
    together = detector.detect(iter(images), threshold=0.0)
    for array, found in zip(images, together, strict=True):
        [alone, _] = detector.detect([array, array], threshold=0.0)
        assert [one.human_box for one in found] == [one.human_box for one in alone]
    broken = tmp_path / "broken.jpg"
    with pytest.raises(UserError, match=r"broken\.jpg: no such file"):
        detector.detect([*images, broken, tmp_path / "another.jpg"])


def scores(found) -> list[float]:
    return [one.score for one in found]


def test_a_stream_is_lazy_and_gives_what_a_list_gives(detector):
    taken = []

    def frames():
        for number in range(60):
            taken.append(number)
            yield random_image(60 + number, 50, number)

    stream = detector.stream(frames(), threshold=0.0)
    first = next(stream)
    assert len(taken) < 25  # a few batches of two
    rest = list(stream)
    want = detector.detect(list(frames()), threshold=0.0)
    assert [scores(found) for found in [first, *rest]] == [scores(found) for found in want]


def test_a_stream_ends_early_without_taking_the_rest(detector):
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield random_image()
        finally:
            closed.set()

    stream = detector.stream(endless())
    next(stream)
    stream.close()
    assert closed.wait(10)


def test_what_a_streams_source_raises_comes_after_its_results(detector):
    def frames():
        for number in range(3):
            yield random_image(seed=number)
        raise ZeroDivisionError("the fourth")

    got = []
    with pytest.raises(ZeroDivisionError, match="the fourth"):
        for found in detector.stream(frames(), threshold=0.0):
            got.append(scores(found))
    assert got == [scores(found) for found in detector.detect([*map_images(3)], threshold=0.0)]
    with pytest.raises(TypeError, match="not int"):
        list(detector.stream([3]))


def map_images(count):
    return (random_image(seed=number) for number in range(count))


def test_results_name_what_cannot_be_read_and_go_on(detector, tmp_path):
    items = [("a", random_image(90, 50, 0)), ("b", tmp_path / "none.jpg"), ("c", random_image())]
    items += [("d", b"x"), ("e", b"y"), ("f", b""), ("g", random_image(40, 30, 1))]
    results = list(
        detector.results(items, image_of=lambda item: item[1], threshold=0.0, keep_images=True)
    )
    assert [result.item[0] for result in results] == list("abcdefg")
    assert [result.error is None for result in results] == [
        True, False, True, False, False, False, True,
    ]  # fmt: skip
    assert "none.jpg: no such file" in results[1].error
    assert results[1].interactions == [] and results[1].image is None
    for number in (0, 2, 6):
        image = items[number][1]
        np.testing.assert_array_equal(results[number].image, image)
        assert (results[number].height, results[number].width) == image.shape[:2]
        [alone, _] = detector.detect([image, image], threshold=0.0)
        assert scores(results[number].interactions) == pytest.approx(scores(alone), rel=1e-3)
    assert next(detector.results([random_image()])).image is None


def test_threads_get_what_one_caller_gets(run):
    detector = Detector.load(run, batch_size=2)
    images = list(map_images(4))
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda image: detector.detect(image, threshold=0.0), images))
        lists = list(pool.map(lambda i: detector.detect([i, i, i], threshold=0.0), images))
    for image, one, three in zip(images, alone, lists, strict=True):
        assert scores(detector.detect(image, threshold=0.0)) == scores(one)
        assert scores(three[0]) == scores(three[1])
        assert [scores(one) for one in detector.detect([image] * 3, threshold=0.0)] == [
            scores(one) for one in three
        ]


def test_floats_and_bgr_give_the_same(detector):
    image = random_image()
    want = scores(detector.detect(image, threshold=0.0))
    assert scores(detector.detect(image / 255, threshold=0.0)) == want
    assert scores(detector.detect(image[..., ::-1], threshold=0.0, channels="bgr")) == want
    assert scores(detector.detect(image[..., ::-1], threshold=0.0)) != want
    bgr = detector.explain(image[..., ::-1], threshold=0.0, top_k=3, channels="bgr")
    assert scores(bgr.interactions) == pytest.approx(want, rel=1e-4)
    np.testing.assert_array_equal(bgr.image, image)
    with pytest.raises(ValueError, match="channels is 'gbr'"):
        detector.detect("no.jpg", channels="gbr")


@pytest.mark.parametrize(
    "chosen",
    [
        {"threshold": 50}, {"threshold": -0.1}, {"threshold": float("nan")}, {"threshold": "0.1"},
        {"threshold": None}, {"top_k": -1}, {"top_k": 1.5}, {"top_k": "3"},
    ],
)  # fmt: skip
def test_a_choice_that_makes_no_sense_is_refused(detector, chosen):
    (name,) = chosen
    for images in (random_image(), [random_image()]):
        with pytest.raises(ValueError, match=f"^{name} is ") as error:
            detector.detect(images, **chosen)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=f"^{name} is "):
        detector.explain(random_image(), **chosen)
    with pytest.raises(ValueError, match=f"^{name} is "):
        detector.results([], **chosen)
    for sensible in ({"threshold": 0}, {"threshold": np.float32(1)}, {"top_k": np.int64(0)}):
        detector.detect(random_image(), **sensible)


def test_what_is_no_image_is_named(detector, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with open(tmp_path / "a.png", "rb") as file:
        for value, says in (
            (None, r"not None \(cv2\.imread"), (3, "not int"), ({"a.png": 1}, "not dict"),
            (file, "not BufferedReader; give what its read"),
            (memoryview(b"abc"), "not memoryview"),
        ):  # fmt: skip
            for given, where in (
                (value, "an image is"),
                ([random_image(), value], r"images\[1\]: "),
            ):
                with pytest.raises(TypeError, match=f"^{where}.*{says}"):
                    detector.detect(given)
    wrong = random_image() / 255
    wrong[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"^images\[2\]: an image array of float64 .* \(NaN\)"):
        detector.detect([random_image(), random_image(), wrong])
    with pytest.raises(UserError, match=r"^an empty path: no such file"):
        detector.detect("")


def test_an_error_of_the_callers_own_is_left_alone(detector):
    def image_of(item):
        raise UnicodeDecodeError("utf-8", b"x", 0, 1, "mine")

    with pytest.raises(UnicodeDecodeError, match="mine"):
        list(detector.results([1], image_of=image_of))


def test_boxes_are_given_in_other_tools_formats(detector):
    interactions = detector.detect(random_image(), threshold=0.0)
    entries = detector.to_coco_results(interactions, image_id=17)
    assert entries == to_coco_results(interactions, VOCABULARY, image_id=17) != []


def test_explain_gives_the_same_with_heatmaps(detector):
    image, found, heatmaps = detector.explain(random_image(), threshold=0.0, top_k=3)
    np.testing.assert_array_equal(image, random_image())
    plain = detector.detect(random_image(), threshold=0.0)
    assert [one.phrase for one in found] == [one.phrase for one in plain]
    assert 0 < len(heatmaps) <= 3
    for one, heat in zip(found, heatmaps, strict=False):
        assert heat.maps.shape == (3, 16, 24)
        # The last map is what the interaction was found on.
        to_input = geometry.letterbox(90, 50, heat.input_size)
        x, y = (geometry.apply(to_input, one.interaction_point) / 4).round().astype(int)
        assert heat.maps[-1, y, x] == pytest.approx(one.verb_score, rel=1e-4)


def test_explain_reads_a_file_once(detector, tmp_path, monkeypatch):
    """What it found and the pixels to draw it on come from the same reading."""
    path = tmp_path / "photo.png"
    Image.fromarray(random_image()).save(path)
    opened = []
    real = Image.open
    monkeypatch.setattr(
        Image, "open", lambda file, **options: opened.append(file.name) or real(file, **options)
    )
    image, found, heatmaps = detector.explain(path, threshold=0.0, top_k=0)
    assert opened == [str(path)] and heatmaps == []
    np.testing.assert_array_equal(image, random_image())
    alone = detector.detect(random_image(), threshold=0.0)
    assert [one.score for one in found] == [one.score for one in alone]


def test_a_network_in_memory_is_compiled_on_first_use(run, detector, monkeypatch):
    """`Detector.load` is not the only way, and each function is compiled once."""
    made = []
    real = Network._compile

    def noted(network, batch_size, heatmaps):
        made.append((batch_size, heatmaps))
        return real(network, batch_size, heatmaps)

    want = [one.score for one in detector.detect(random_image(), threshold=0.0)]
    monkeypatch.setattr(Network, "_compile", noted)
    mine = Detector(detection.load(run), batch_size=2)
    for _ in range(2):
        assert [one.score for one in mine.detect(random_image(), threshold=0.0)] == want
        mine.detect([random_image()] * 3)
        mine.explain(random_image(), top_k=1000)
    assert made == [(1, 0), (2, 0), (1, 60)]


def test_checkpoints_are_chosen_by_step(run):
    assert ggnet_jax.Detector.load(run).step == 7
    assert Detector.load(run, step=3).step == 3
    with pytest.raises(UserError, match="no checkpoint of step 5"):
        Detector.load(run, step=5)
    for wrong in (0, -1, 1.5, "8", None):
        with pytest.raises(ValueError, match="batch_size"):
            Detector.load(run, batch_size=wrong)
    for wrong in (0, -5, "1", None, float("nan")):
        with pytest.raises(ValueError, match="max_pixels"):
            Detector.load(run, max_pixels=wrong)


def test_a_folder_without_a_run_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        Detector.load(tmp_path)
