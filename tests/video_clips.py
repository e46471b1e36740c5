"""Clips that PyAV encodes on the spot, with sound, for tests of videos."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

SOUND_RATE = 8000


def moving_frame(number: int, width: int, height: int) -> np.ndarray:
    """A gradient with a white square whose place tells the frame's number."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 180 // width, y * 180 // height, 0 * x + 60], axis=-1).astype(np.uint8)
    left = (number * 4) % max(1, width - 12)
    image[8:20, left : left + 12] = 255
    return image


def place_of_square(image: np.ndarray) -> int:
    """The left side of the white square, in pixels."""
    bright = image[8:20].min(axis=-1).mean(axis=0)
    return int(np.flatnonzero(bright > 200)[0])


def make_clip(
    path: Path,
    *,
    count: int = 20,
    size: tuple[int, int] = (96, 64),
    rate: int | Fraction = 10,
    codec: str = "mpeg4",
    pixels: str = "yuv420p",
    sound: str | None = None,
    rotation: int | None = None,
    times: Sequence[Fraction] | None = None,
    format: str | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a clip of `moving_frame`s.

    Args:
        path: of the file.
        count: how many frames.
        size: (width, height).
        rate: frames a second.
        codec: of the video.
        pixels: the pixel format.
        sound: codec of a tone as long as the video; None for silence.
        rotation: degrees, clockwise, that a player turns it by.
        times: of each frame in seconds, where they don't follow `rate`.
        format: of the container, where the ending does not say it.
        options: of the video's encoder.
    """
    import av

    ticks = Fraction(1, 1000)
    with av.open(str(path), "w", format=format) as out:
        video = out.add_stream(codec, rate=rate, options=options or {})
        video.width, video.height, video.pix_fmt = *size, pixels
        if times is not None:
            video.codec_context.time_base = ticks
        if rotation is not None:
            video.set_display_rotation(-rotation)
        tone = None
        if sound:
            tone = out.add_stream(sound, rate=SOUND_RATE, layout="mono")
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(moving_frame(number, *size), "rgb24")
            if times is None:
                frame.pts, frame.time_base = number, 1 / Fraction(rate)
            else:
                frame.pts, frame.time_base = round(times[number] / ticks), ticks
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if tone is not None:
            seconds = float(times[-1] if times is not None else count / Fraction(rate))
            _write_tone(av, out, tone, seconds)
    return path


def _write_tone(av, out, stream, seconds: float) -> None:
    samples = np.arange(int(seconds * SOUND_RATE))
    wave = (8000 * np.sin(samples * 2 * np.pi * 440 / SOUND_RATE)).astype(np.int16)
    convert = av.AudioResampler(
        format=stream.format, layout=stream.layout, rate=SOUND_RATE, frame_size=stream.frame_size
    )
    for start in range(0, len(wave), 1024):
        part = wave[None, start : start + 1024]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "s16", "mono")
        frame.sample_rate, frame.pts = SOUND_RATE, start
        frame.time_base = Fraction(1, SOUND_RATE)
        for piece in convert.resample(frame):
            out.mux(stream.encode(piece))
    for piece in convert.resample(None):
        out.mux(stream.encode(piece))
    out.mux(stream.encode(None))
