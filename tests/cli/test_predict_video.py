"""--mode=predict on videos: lines, annotated MP4, and what is left when it ends early."""

import json
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from tiny import make_run
from video_clips import make_clip, moving_frame

from ggnet_jax.cli import modes, predict_video
from ggnet_jax.cli.image_paths import VideoSource, find_sources
from ggnet_jax.cli.predict_video import output_names, predict_videos
from ggnet_jax.errors import UserError
from ggnet_jax.inference.detector import Detector
from ggnet_jax.video import reading
from ggnet_jax.video.reading import open_video

av = pytest.importorskip("av", reason="videos need PyAV: pip install av")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def detector(run):
    return Detector.load(run, batch_size=8)


@pytest.fixture(autouse=True)
def loaded(detector, monkeypatch):
    """One detector for all tests: compiling takes seconds."""
    monkeypatch.setattr(Detector, "load", lambda *arguments, **options: detector)


def sources(*paths):
    return [VideoSource(str(path), path) for path in paths]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_for_each_frame_and_an_annotated_video_with_sound(run, detector, tmp_path, capsys):
    clip = make_clip(tmp_path / "clip.mp4", count=11, sound="aac")
    out = tmp_path / "out"
    assert predict_videos(run, sources(clip), out, threshold=0.0) == 0
    assert sorted(path.name for path in out.iterdir()) == ["clip.jsonl", "clip.mp4"]
    frames = list(open_video(clip).frames())
    for line, frame in zip(lines(out / "clip.jsonl"), frames, strict=True):
        assert line["frame"] == frame.number and line["time"] == float(frame.time)
        assert (line["width"], line["height"]) == (96, 64)
        image = frame.read()
        want = detector.detect([image] * 8, threshold=0.0)[0]
        assert line["interactions"] == [one.to_dict() for one in want] != []
    drawn = [(frame.time, frame.read()) for frame in open_video(out / "clip.mp4").frames()]
    assert [time for time, _ in drawn] == [frame.time for frame in frames]
    assert all(
        np.abs(image - moving_frame(0, 96, 64).astype(int)).max() > 100 for _, image in drawn
    )
    with av.open(str(out / "clip.mp4")) as made:
        assert len(made.streams.audio) == 1
    said = capsys.readouterr()
    assert "clip.mp4: 11 frames, something found in 11, 0 broken" in said.out


def test_one_of_so_many_frames(run, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", count=10)
    predict_videos(run, sources(clip), tmp_path / "out", every=4)
    assert [line["frame"] for line in lines(tmp_path / "out" / "clip.jsonl")] == [0, 4, 8]
    made = open_video(tmp_path / "out" / "clip.mp4")
    assert [float(frame.time) for frame in made.frames()] == [0, 0.4, 0.8]


def test_broken_frames_and_videos_are_named_and_the_others_go_on(run, tmp_path, capsys):
    clip = make_clip(tmp_path / "clip.mp4", count=20)
    with av.open(str(clip)) as opened:
        packet = list(opened.demux(video=0))[7]
    data = bytearray(clip.read_bytes())
    data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    clip.write_bytes(data)
    none, text = tmp_path / "none.mp4", tmp_path / "text.mp4"
    text.write_text("not a video")
    good = make_clip(tmp_path / "good.mp4", count=3)
    out = tmp_path / "out"
    assert predict_videos(run, sources(none, text, clip, good), out) == 3
    said = capsys.readouterr().err
    assert f"skipped {none}: no such file" in said and f"skipped {text}: not a video" in said
    assert f"skipped {clip}, frame 7 at 0.700 s: broken" in said
    written = lines(out / "clip.jsonl")
    assert written[7]["error"].startswith("broken") and "interactions" not in written[7]
    assert [line["frame"] for line in written] == list(range(20))
    assert len(list(open_video(out / "clip.mp4").frames())) == 19
    assert len(lines(out / "good.jsonl")) == 3 and not (out / "text.mp4").exists()


def test_a_video_without_a_frame_leaves_nothing(run, tmp_path, capsys):
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "1.png").write_bytes(b"no image")
    source = VideoSource(str(frames), frames, frames=True)
    assert predict_videos(run, [source], tmp_path / "out", fps=25) == 1
    assert "no frame in it could be read" in capsys.readouterr().err
    assert not (tmp_path / "out" / "frames.mp4").exists()
    assert not (tmp_path / "out" / "frames.jsonl").exists()


def test_a_folder_of_frames_of_several_sizes(run, tmp_path):
    frames = tmp_path / "shots.v2"
    frames.mkdir()
    for number, size in ((1, (96, 64)), (2, (64, 96)), (10, (96, 64))):
        Image.fromarray(moving_frame(number, *size)).save(frames / f"{number}.png")
    status = modes.predict(str(run), str(frames), str(tmp_path / "out"), None, None, fps=12.5)
    assert status == 0
    written = lines(tmp_path / "out" / "shots.v2.jsonl")
    assert [(line["file_name"], line["time"]) for line in written] == [
        ("1.png", 0), ("2.png", 0.08), ("10.png", 0.16),
    ]  # fmt: skip
    assert [line["width"] for line in written] == [96, 64, 96]
    made = list(open_video(tmp_path / "out" / "shots.v2.mp4").frames())
    assert [frame.time for frame in made] == [0, Fraction(2, 25), Fraction(4, 25)]


def test_ctrl_c_leaves_whole_lines_and_no_half_video(run, tmp_path, monkeypatch, capsys):
    clip = make_clip(tmp_path / "clip.mp4", count=12)
    real, written = predict_video.VideoWriter.write, []

    def write(writer, image, time):
        real(writer, image, time)
        written.append(time)
        if len(written) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(predict_video.VideoWriter, "write", write)
    with pytest.raises(
        KeyboardInterrupt, match=r"the predictions for 5 frames are in .*unfinished"
    ):
        predict_videos(run, sources(clip), tmp_path / "out")
    [left] = (tmp_path / "out").iterdir()
    assert left.name == "clip.jsonl.unfinished"
    assert [line["frame"] for line in lines(left)] == [0, 1, 2, 3, 4]


def test_ctrl_c_ends_a_camera_and_keeps_what_it_saw(run, tmp_path, monkeypatch, capsys):
    clip = make_clip(tmp_path / "clip.mkv", count=40)
    monkeypatch.setattr(
        reading, "open_camera", lambda number: reading.Video(av.open(str(clip)), "camera:0", None)
    )
    real = Detector.detect
    seen = []

    def detect(detector, image, **options):
        seen.append(image)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(detector, image, **options)

    monkeypatch.setattr(Detector, "detect", detect)
    monkeypatch.setattr(predict_video, "newest", lambda items: iter_all(items))
    assert predict_videos(run, [VideoSource("camera:0", camera=0)], tmp_path / "out") == 0
    assert len(lines(tmp_path / "out" / "camera_0.jsonl")) == 2
    assert len(list(open_video(tmp_path / "out" / "camera_0.mp4").frames())) == 2
    assert "camera:0: stopped" in capsys.readouterr().err


def iter_all(items):
    yield from items


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"every": 0}, "--every=0"),
        ({"fps": 0.0}, "--fps=0"),
        ({"fps": float("nan")}, "--fps=nan"),
        ({"threshold": 2.0}, "--threshold=2"),
        ({"max_pixels": 0}, "--max_pixels=0"),
    ],
)
def test_values_that_mean_nothing_are_refused(run, tmp_path, options, why):
    with pytest.raises(UserError, match=why):
        predict_videos(run, sources(tmp_path / "a.mp4"), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_no_video_is_written_over(run, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", count=1)
    with pytest.raises(UserError, match="would be written over"):
        predict_videos(run, sources(clip), tmp_path)


@pytest.mark.parametrize("package", ["av", "tqdm"])
def test_without_pyav_it_says_what_to_install(run, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"a\.mp4 needs the packages .* pip install av tqdm"):
        predict_videos(run, sources(tmp_path / "a.mp4"))


def test_flags_that_fit_no_video(run, tmp_path):
    photo = tmp_path / "a.png"
    Image.fromarray(moving_frame(0, 96, 64)).save(photo)
    clip = make_clip(tmp_path / "clip.mp4", count=1)

    def predict(images, **options):
        modes.predict(str(run), images, str(tmp_path / "out"), None, None, **options)

    with pytest.raises(UserError, match="--every chooses frames of videos"):
        predict(str(photo), every=2)
    with pytest.raises(UserError, match="--images has no folder"):
        predict(str(photo), fps=25)
    for draw in ("none", "best", "all"):
        with pytest.raises(UserError, match="--draw chooses images to draw; --images names none"):
            predict(str(clip), draw=draw)
    # Before anything is done, also where there are images beside the video.
    for images in (str(clip), f"{photo},{clip}"):
        with pytest.raises(UserError, match="--format=ppdm is for images"):
            predict(images, format="ppdm")
        with pytest.raises(UserError, match="--every=0"):
            predict(images, every=0)
    assert not (tmp_path / "out").exists()


def test_drawings_are_chosen_of_the_images_beside_a_video(run, tmp_path):
    Image.fromarray(moving_frame(0, 96, 64)).save(tmp_path / "a.png")
    clip = make_clip(tmp_path / "clip.mp4", count=1)
    images = f"{tmp_path / 'a.png'},{clip}"
    assert modes.predict(str(run), images, str(tmp_path / "out"), None, None, draw="none") == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"clip.mp4", "clip.jsonl", "predictions-00000-of-00001.jsonl"} <= written
    assert "a.png" not in written


def test_videos_are_told_by_their_endings(tmp_path):
    for name in ("a.png", "b.MP4", "c.mkv", "clips/d.webm", "clips/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    images, videos = find_sources(f"{tmp_path / 'a.png'},{tmp_path / 'b.MP4'},camera:3")
    assert images == [tmp_path / "a.png"]
    assert videos == [
        VideoSource(str(tmp_path / "b.MP4"), tmp_path / "b.MP4"),
        VideoSource("camera:3", camera=3),
    ]
    # Images of a folder, and its videos if it has none.
    assert find_sources(tmp_path) == ([tmp_path / "a.png"], [])
    images, videos = find_sources(tmp_path / "clips")
    assert images == [] and [video.path.name for video in videos] == ["d.webm"]
    _, [folder] = find_sources(tmp_path / "clips", frames=True)
    assert folder.frames and folder.path == tmp_path / "clips"
    _, globbed = find_sources(str(tmp_path / "**" / "*.[mw]*"))
    assert [video.path.name for video in globbed] == ["c.mkv", "d.webm"]
    with pytest.raises(UserError, match="cameras are called by numbers"):
        find_sources("camera:front")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.mpg"])
def test_a_file_that_begins_like_a_video_is_one(tmp_path, name):
    codec = "mpeg4" if name in ("a.mp4", "a.mkv", "a.avi") else "mpeg2video"
    clip = make_clip(tmp_path / name, count=2, codec=codec, rate=25)
    named = clip.rename(tmp_path / "clip.part")
    assert find_sources(named)[1] == sources(named)
    for other in (b"", b"\0\0\0\x1cftypavif", b"GIF89a", b"\xff\xd8\xff\xe0"):
        (tmp_path / "photo.part").write_bytes(other)
        assert find_sources(tmp_path / "photo.part") == ([tmp_path / "photo.part"], [])


def test_outputs_of_videos_do_not_meet(tmp_path):
    named = sources(tmp_path / "a.mp4", tmp_path / "b" / "a.mkv", tmp_path / "predictions.mp4")
    named += [
        VideoSource("f", tmp_path / "shots.v2", frames=True),
        VideoSource("camera:0", camera=0),
    ]
    assert output_names(named) == ["a", "a_2", "predictions_2", "shots.v2", "camera_0"]
