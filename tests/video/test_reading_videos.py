"""Videos as frames: their number, times and pixels; damaged files, and what is no video."""

import re
import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from video_clips import make_clip, moving_frame, place_of_square

from ggnet_jax.errors import UserError
from ggnet_jax.video import reading
from ggnet_jax.video.reading import open_video

av = pytest.importorskip("av", reason="videos need PyAV: pip install av")


def read_all(path, every=1):
    video = open_video(path)
    return video, [(frame, frame.read()) for frame in video.frames(every)]


def start_first(path, target):
    """Copy a clip with its index before its data, so that its beginning can be read alone."""
    with av.open(str(path)) as source:
        with av.open(str(target), "w", options={"movflags": "+faststart"}) as out:
            streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
    return target


def test_every_frame_with_its_number_time_and_pixels(tmp_path):
    video, frames = read_all(make_clip(tmp_path / "a.mp4", count=12, sound="aac"))
    assert video.frame_rate == 10 and video.total == 12 and video.ended_early is None
    assert [frame.number for frame, _ in frames] == list(range(12))
    assert [frame.time for frame, _ in frames] == [Fraction(k, 10) for k in range(12)]
    for frame, image in frames:
        assert image.shape == (64, 96, 3) and image.dtype == np.uint8
        assert abs(place_of_square(image) - 4 * frame.number) <= 1
        assert np.abs(image - moving_frame(frame.number, 96, 64).astype(int)).mean() < 5


def test_one_of_so_many_frames_keeps_numbers_and_times(tmp_path):
    _, frames = read_all(make_clip(tmp_path / "a.mp4", count=11), every=4)
    assert [frame.number for frame, _ in frames] == [0, 4, 8]
    assert [float(frame.time) for frame, _ in frames] == [0, 0.4, 0.8]


def test_times_that_are_uneven_stay_so(tmp_path):
    times = [Fraction(k * k, 100) for k in range(9)]
    _, frames = read_all(make_clip(tmp_path / "a.mkv", count=9, times=times))
    assert [frame.time for frame, _ in frames] == times


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.avi", {}),
        ("a.mov", {"sound": "pcm_s16le"}),
        ("a.ts", {"sound": "aac", "format": "mpegts", "codec": "mpeg2video", "rate": 25}),
        ("odd.mkv", {"codec": "ffv1", "size": (97, 65), "pixels": "yuv444p"}),
        ("deep.mkv", {"codec": "ffv1", "pixels": "yuv420p10le"}),
        ("gray.mkv", {"codec": "ffv1", "pixels": "gray"}),
    ],
)
def test_containers_and_pixel_formats(tmp_path, name, options):
    _, frames = read_all(make_clip(tmp_path / name, count=6, **options))
    assert [frame.number for frame, _ in frames] == list(range(6))
    height, width = options.get("size", (96, 64))[::-1]
    assert all(image.shape == (height, width, 3) for _, image in frames)
    assert abs(place_of_square(frames[5][1]) - 20) <= 1
    assert 0 <= frames[0][0].time < 0.2  # a transport stream begins anywhere


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_frames_are_turned_upright(tmp_path, rotation):
    _, frames = read_all(make_clip(tmp_path / "a.mp4", count=2, rotation=rotation))
    want = np.rot90(moving_frame(0, 96, 64), -rotation // 90)  # clockwise, as players do
    assert frames[0][1].shape == want.shape
    assert np.abs(frames[0][1] - want.astype(int)).mean() < 5


@pytest.mark.parametrize(
    ("a", "b", "c", "d", "shown"),
    [
        (-1, 0, 0, 1, lambda image: image[:, ::-1]),
        (1, 0, 0, -1, lambda image: image[::-1]),
        (0, 1, 1, 0, lambda image: image.swapaxes(0, 1)),
        (0, -1, -1, 0, lambda image: image.swapaxes(0, 1)[::-1, ::-1]),
        (0, 1, -1, 0, lambda image: np.rot90(image, -1)),
    ],
)
def test_frames_are_mirrored_as_their_file_says(tmp_path, a, b, c, d, shown):
    data = make_clip(tmp_path / "a.mp4", count=1).read_bytes()
    plain, matrix = (  # QuickTime's: (x, y) is shown at (a x + c y, b x + d y)
        struct.pack(">9i", *(value << 16 for value in row), 0, 0, 0, 1 << 30)
        for row in [(1, 0, 0, 0, 1), (a, b, 0, c, d)]
    )
    assert data.count(b"tkhd") == 1
    track = data.index(b"tkhd")
    at = data.index(plain, track)
    (tmp_path / "b.mp4").write_bytes(data[:at] + matrix + data[at + len(matrix) :])
    [(_, image)] = read_all(tmp_path / "b.mp4")[1]
    want = shown(moving_frame(0, 96, 64))
    assert image.shape == want.shape and np.abs(image - want.astype(int)).mean() < 5


def test_a_part_of_a_recording_that_begins_late_is_whole(tmp_path):
    late = [5 + Fraction(k, 10) for k in range(10)]
    video, frames = read_all(make_clip(tmp_path / "a.mkv", count=10, times=late))
    assert [frame.time for frame, _ in frames] == [Fraction(k, 10) for k in range(10)]
    assert video.start == 5 and video.total in (9, 10) and video.ended_early is None


def test_broken_frames_are_named_and_the_others_go_on(tmp_path):
    path = make_clip(tmp_path / "a.mp4", count=20)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as clip:
        packet = list(clip.demux(video=0))[7]
    data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    video = open_video(path)
    seen, errors = [], {}
    for frame in video.frames():
        try:
            seen.append((frame.number, frame.time, frame.read()))
        except UserError as error:
            errors[frame.number] = str(error)
    assert list(errors) == [7] and "broken" in errors[7]
    assert [number for number, _, _ in seen] == [k for k in range(20) if k != 7]
    assert seen[-1][1] == Fraction(19, 10) and video.ended_early is None


def test_a_cut_off_file_gives_what_there_is_and_says_so(tmp_path):
    whole = start_first(make_clip(tmp_path / "a.mp4", count=30), tmp_path / "b.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    video = open_video(tmp_path / "cut.mp4")
    *frames, last = video.frames()  # of the last there may be but a part
    assert 5 < len(frames) < 30 and last.number == len(frames)
    assert re.match(r"cut off after \d\.\d s of 3\.0 s", video.ended_early or "")
    for frame in frames:
        assert abs(place_of_square(frame.read()) - 4 * frame.number) <= 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "no such file"),
        (b"", "not a video but an empty file"),
        (b"not a video at all\n" * 40, "not a video that can be read"),
        (b"%PDF-1.7 and so on" + bytes(400), "not a video but a PDF document"),
        (b"#EXTM3U\n#EXTINF:10,\nhttp://localhost:9/a.ts\n", "not a video that can be read"),
    ],
)
def test_what_is_no_video_is_one_line(tmp_path, content, why):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"clip\.mp4: {why}") as raised:
        open_video(path)
    assert "\n" not in str(raised.value)


def test_songs_folders_and_giants_are_refused(tmp_path):
    with pytest.raises(UserError, match="a folder"):
        open_video(tmp_path)
    clip = make_clip(tmp_path / "a.mp4", count=1)
    with pytest.raises(UserError, match=r"too large \(96 x 64; max_pixels is 1,000"):
        open_video(clip, max_pixels=1000)
    with av.open(str(tmp_path / "song.mp4"), "w") as out:
        tone = out.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        out.mux(tone.encode(frame))
        out.mux(tone.encode(None))
    with pytest.raises(UserError, match="there is no video in it"):
        open_video(tmp_path / "song.mp4")
    Image.fromarray(moving_frame(0, 96, 64)).save(tmp_path / "photo.mp4", "PNG")
    with pytest.raises(UserError, match="not a video but a PNG image"):
        open_video(tmp_path / "photo.mp4")


def test_a_cut_off_index_is_one_line(tmp_path):
    data = make_clip(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="cut off before its index"):
        open_video(tmp_path / "cut.mp4")


def test_a_camera_is_opened_as_the_system_has_it(tmp_path, monkeypatch):
    clip = make_clip(tmp_path / "a.mkv", count=5)
    asked = []

    def opener(device, **options):
        asked.append((device, options["format"]))
        return av.open(str(clip))

    for system, want in (
        ("linux", ("/dev/video2", "v4l2")),
        ("darwin", ("2:none", "avfoundation")),
    ):
        monkeypatch.setattr(reading.sys, "platform", system)
        camera = reading.open_camera(2, opener)
        assert camera.path is None and asked[-1] == want
        assert [float(frame.time) for frame in camera.frames()] == [0, 0.1, 0.2, 0.3, 0.4]
        assert camera.ended_early is None
    monkeypatch.setattr(reading.sys, "platform", "win32")
    with pytest.raises(UserError, match="Linux and macOS"):
        reading.open_camera(2, opener)


def test_no_camera_is_one_line(monkeypatch):
    monkeypatch.setattr(reading.sys, "platform", "linux")
    with pytest.raises(UserError, match=r"camera:77: no camera that can be read at /dev/video77"):
        reading.open_camera(77)
