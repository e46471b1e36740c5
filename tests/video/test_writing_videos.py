"""The annotated MP4: frames, times and sound as they were; whole or absent."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from video_clips import make_clip, moving_frame, place_of_square

from ggnet_jax.errors import UserError
from ggnet_jax.video import writing
from ggnet_jax.video.reading import open_video
from ggnet_jax.video.writing import VideoWriter

av = pytest.importorskip("av", reason="videos need PyAV: pip install av")


def copy(source, target, every=1):
    """Write a video's frames again as --mode=predict does."""
    video = open_video(source)
    with VideoWriter(
        target,
        video.frame_rate / every,
        time_base=video.time_base,
        pixel_shape=video.pixel_shape,
        sound_of=source,
        sound_start=video.start,
    ) as writer:
        for frame in video.frames(every):
            writer.write(frame.read(), frame.time)
    return target


def times(path):
    return [frame.time for frame in open_video(path).frames()]


def sound(path) -> tuple[float, np.ndarray]:
    """When the sound of a file begins, and its samples."""
    with av.open(str(path)) as clip:
        frames = list(clip.decode(audio=0))
    values = np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(float)
    return float(frames[0].pts * frames[0].time_base), values / np.abs(values).max()


def packets(path) -> list[bytes]:
    with av.open(str(path)) as clip:
        return [bytes(packet) for packet in clip.demux(audio=0) if packet.size]


def test_frames_and_times_are_kept(tmp_path):
    source = make_clip(tmp_path / "a.mp4", count=15, rate=Fraction(30000, 1001))
    target = copy(source, tmp_path / "out.mp4")
    video = open_video(target)
    frames = [(frame.time, frame.read()) for frame in video.frames()]
    assert video.frame_rate == Fraction(30000, 1001)
    given = [(frame.time, frame.read()) for frame in open_video(source).frames()]
    for (time, image), (want_time, want) in zip(frames, given, strict=True):
        assert time == want_time
        assert np.abs(image - want.astype(int)).mean() < 4
    assert not list(tmp_path.glob("*.unfinished"))


def test_uneven_times_and_chosen_frames_keep_their_times(tmp_path):
    uneven = [Fraction(k * k, 100) for k in range(12)]
    source = make_clip(tmp_path / "a.mkv", count=12, times=uneven, sound="flac")
    assert times(copy(source, tmp_path / "all.mp4")) == uneven
    assert times(copy(source, tmp_path / "some.mp4", every=3)) == uneven[::3]
    for name in ("all.mp4", "some.mp4"):
        begin, samples = sound(tmp_path / name)
        assert begin == 0 and abs(len(samples) / 8000 - 1.21) < 0.01


def test_sound_is_copied_bit_by_bit(tmp_path):
    source = make_clip(tmp_path / "a.mp4", sound="aac")
    target = copy(source, tmp_path / "out.mp4")
    assert packets(target)[-15:] == packets(source)[-15:]
    (begin, got), (want_begin, want) = sound(target), sound(source)
    assert begin == want_begin and abs(len(got) - len(want)) <= 1024


@pytest.mark.parametrize(("name", "codec"), [("a.mov", "pcm_s16le"), ("a.avi", "libmp3lame")])
def test_sound_that_mp4_has_not_is_encoded(tmp_path, name, codec):
    source = make_clip(tmp_path / name, sound=codec)
    target = copy(source, tmp_path / "out.mp4")
    (begin, got), (_, want) = sound(target), sound(source)
    assert abs(begin) < 0.15 and abs(len(got) - len(want)) < 2500
    spectrum = np.abs(np.fft.rfft(got[2000:10000]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=2)  # bins of a hertz


def test_sound_that_only_counts_its_channels_is_encoded(tmp_path):
    source = tmp_path / "a.avi"
    with av.open(str(source), "w") as out:
        video, tone = out.add_stream("mpeg4", rate=10), out.add_stream("pcm_s16le", rate=8000)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for number in range(10):
            out.mux(video.encode(av.VideoFrame.from_ndarray(moving_frame(number, 96, 64))))
        out.mux(video.encode(None))
        samples = (8000 * np.sin(np.arange(16000) // 2 * 2 * np.pi * 440 / 8000)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "stereo")
        frame.sample_rate = 8000
        out.mux(tone.encode(frame))
        out.mux(tone.encode(None))
    with av.open(str(source)) as clip:
        assert clip.streams.audio[0].codec_context.layout.name == "2 channels"
    _, got = sound(copy(source, tmp_path / "out.mp4"))
    assert abs(len(got) - 8000) < 2500


@pytest.mark.parametrize(
    ("rate", "layout", "want"),
    [
        (44100, "stereo", (44100, "stereo")),
        (192000, "stereo", (48000, "stereo")),
        (5512, "mono", (48000, "mono")),
        (48000, "22.2", (48000, "stereo")),
    ],
)
def test_what_aac_has_not_becomes_what_it_has(rate, layout, want):
    context = av.CodecContext.create("pcm_s16le", "r")
    context.sample_rate, context.layout = rate, layout
    assert writing._as_aac(av, context) == want


def test_damaged_sound_is_a_gap_that_is_named(tmp_path):
    source = make_clip(tmp_path / "a.mov", sound="aac")
    with VideoWriter(tmp_path / "out.mp4", Fraction(10), sound_of=source) as writer:
        writer.write(moving_frame(0, 96, 64), Fraction(0))
        real, calls = writer._sound._copy, []

        def copy_packet(packet):
            calls.append(packet)
            if len(calls) in (3, 5):
                raise av.error.ArgumentError(22, "goes back in time")
            real(packet)

        writer._sound._copy = copy_packet
    assert writer.sound_lost == "its sound has gaps, 2 packets are damaged"
    assert len(packets(tmp_path / "out.mp4")) >= len(packets(source)) - 3


def test_a_stream_that_begins_late_stays_in_step(tmp_path):
    source = make_clip(tmp_path / "a.ts", sound="aac", format="mpegts", codec="mpeg2video", rate=25)
    target = copy(source, tmp_path / "out.mp4")
    with av.open(str(source)) as a, av.open(str(target)) as b:
        gaps = [
            float(clip.streams.video[0].start_time * clip.streams.video[0].time_base)
            - float(clip.streams.audio[0].start_time * clip.streams.audio[0].time_base)
            for clip in (a, b)
        ]
    assert gaps[0] == pytest.approx(gaps[1], abs=0.002)


def test_odd_sizes_grow_by_a_pixel(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", Fraction(10)) as writer:
        for number in range(3):
            writer.write(moving_frame(number, 97, 65), Fraction(number, 10))
    image = next(open_video(tmp_path / "out.mp4").frames()).read()
    assert image.shape == (66, 98, 3) and place_of_square(image) == 0
    assert np.abs(image[:65, :97] - moving_frame(0, 97, 65).astype(int)).mean() < 6


def test_colors_and_the_shape_of_pixels_are_said(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", Fraction(10), pixel_shape=Fraction(16, 15)) as writer:
        writer.write(moving_frame(0, 96, 64), Fraction(0))
    with av.open(str(tmp_path / "out.mp4")) as clip:
        stream = clip.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(16, 15)
        assert stream.codec_context.colorspace == 1 and stream.codec_context.pix_fmt == "yuv420p"


def test_frames_of_one_time_follow_each_other(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", Fraction(10), time_base=Fraction(1, 1000)) as writer:
        for time in (0, 0, Fraction(1, 10)):
            writer.write(moving_frame(0, 96, 64), Fraction(time))
    assert times(tmp_path / "out.mp4") == [0, Fraction(1, 1000), Fraction(1, 10)]


def test_an_ffmpeg_without_x264_writes_mpeg4(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_has_encoder", lambda av, name: name == "mpeg4")
    source = make_clip(tmp_path / "a.mp4", count=6, rate=Fraction(24000, 1001), sound="aac")
    target = copy(source, tmp_path / "out.mp4")
    with av.open(str(target)) as clip:
        assert clip.streams.video[0].codec_context.name == "mpeg4"
    assert times(target) == pytest.approx(times(source), abs=1e-4)


def test_frames_that_no_mp4_can_have_are_one_line(tmp_path):
    with (
        pytest.raises(UserError, match=r"out\.mp4: its frames have 16386 x 8 pixels, .* 16384"),
        VideoWriter(tmp_path / "out.mp4", Fraction(10)) as writer,
    ):
        writer.write(np.zeros((8, 16386, 3), np.uint8), Fraction(0))
    assert not list(tmp_path.iterdir())


def test_what_fails_leaves_nothing(tmp_path):
    source = make_clip(tmp_path / "a.mp4", sound="aac")
    (tmp_path / "out.mp4").write_bytes(b"an earlier one")
    with pytest.raises(ZeroDivisionError):
        with VideoWriter(tmp_path / "out.mp4", Fraction(10), sound_of=source) as writer:
            writer.write(moving_frame(0, 96, 64), Fraction(0))
            raise ZeroDivisionError
    assert (tmp_path / "out.mp4").read_bytes() == b"an earlier one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "out.mp4"]
    with pytest.raises(UserError, match="cannot write"):
        with VideoWriter(tmp_path / "no" / "out.mp4", Fraction(10)) as writer:
            writer.write(moving_frame(0, 96, 64), Fraction(0))


def test_the_index_comes_first(tmp_path):
    """A page plays a file whose index comes first while it loads."""
    data = copy(make_clip(tmp_path / "a.mp4"), tmp_path / "out.mp4").read_bytes()
    names, place = [], 0
    while place < len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        names.append(name)
        place += size
    assert names.index(b"moov") < names.index(b"mdat")
