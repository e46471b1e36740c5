"""A video file or a camera as frames with their time stamps."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.file_kinds import kind_of
from ggnet_jax.inference.image_files import MAX_PIXELS, open_file
from ggnet_jax.video.frames import Frame, broken
from ggnet_jax.video.pyav import reason, require

HD_HEIGHT = 720  # from here on, video that does not name its colors has those of BT.709
CAMERA_RATE = Fraction(30)  # frames a second of a camera that names none


class Video:
    """A video that PyAV has opened.

    Attributes:
        name: what messages call it.
        path: of the file; None for a camera.
        frame_rate: average frames a second.
        time_base: seconds a tick of its time stamps.
        pixel_shape: width over height of a pixel as shown; 1 where they are square.
        total: how many frames it should have; None where it does not say.
        start: when it begins, in its own time stamps, seconds.
        ended_early: once its frames were read, why they are fewer than there should be.
    """

    def __init__(self, container: Any, name: str, path: Path | None, max_pixels: int = MAX_PIXELS):
        """Take an opened container.

        Raises:
            UserError: it has no video that can be decoded, or one of too large frames.
        """
        self.name, self.path = name, path
        self.ended_early: str | None = None
        self._container = container
        self._stream = stream = _video_stream(container, name)
        context = stream.codec_context
        if context.width * context.height > max_pixels:
            raise UserError(
                f"{name}: too large ({context.width} x {context.height}; max_pixels is "
                f"{max_pixels:,}, set it higher to read it)"
            )
        self.frame_rate = Fraction(stream.average_rate or stream.guessed_rate or CAMERA_RATE)
        self.time_base = Fraction(stream.time_base or Fraction(1, 90000))
        self.pixel_shape = Fraction(stream.sample_aspect_ratio or 1)
        started = container.start_time if path else None
        self.start = Fraction(started or 0, 1_000_000)
        self._duration = _duration(container, stream, self.start)
        expected = round((self._duration or 0) * self.frame_rate)
        self.total: int | None = int(stream.frames) or expected or None

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Every so many of its frames, in order, decoded; a broken one says so when it is read."""
        av = require(self.name)
        number, time, between = -1, None, 1 / self.frame_rate
        start = None if self.path is None else self.start  # a camera's is its first frame
        end = Fraction(0)  # of the packets so far
        try:
            for packet in self._packets(av):
                if packet.pts is not None and packet.dts is not None:
                    ticks = packet.pts + (packet.duration or 0)
                    end = max(end, ticks * self.time_base - self.start)
                try:
                    decoded = packet.decode()
                except av.error.EOFError:
                    continue
                except av.error.FFmpegError as error:
                    number += 1
                    time = Fraction(0) if time is None else time + between
                    if number % every == 0:
                        yield broken(number, time, f"broken ({reason(error)})")
                    continue
                for frame in decoded:
                    number += 1
                    if frame.pts is None:  # as in a raw stream
                        time = Fraction(0) if time is None else time + between
                    else:
                        stamp = frame.pts * Fraction(frame.time_base or self.time_base)
                        start = stamp if start is None else start
                        time = max(stamp - start, time or Fraction(0))
                    if number % every:
                        continue
                    if frame.is_corrupt:
                        yield broken(number, time, "broken (damaged data)")
                    else:
                        yield Frame(number, time, _pixels_of(frame))
        finally:
            self.close()
        self._note_early_end(end)

    def _note_early_end(self, end: Fraction) -> None:
        """Compare where the packets ended with how long the video should be."""
        missing = (self._duration or end) - end
        if self.ended_early is None and missing > 3 / self.frame_rate + Fraction(1, 10):
            self.ended_early = "the file ends there"
        if self.ended_early is not None:
            whole = f" of {float(self._duration):.1f} s" if self._duration else ""
            self.ended_early = f"cut off after {float(end):.1f} s{whole} ({self.ended_early})"

    def _packets(self, av: Any) -> Iterator[Any]:
        """The packets of the video, and at the end the one that empties the decoder."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self.ended_early = reason(error)
                packet = av.Packet()
                packet.stream = self._stream
                yield packet
                return
            yield packet

    def close(self) -> None:
        """Close the file or let the camera go."""
        self._container.close()


def open_video(path: Path, max_pixels: int = MAX_PIXELS) -> Video:
    """Open a file.

    Args:
        path: of the file.
        max_pixels: width times height of the largest frame that is decoded.

    Raises:
        UserError: it is missing, no video, of a codec that PyAV lacks, or its frames are too large.
    """
    av = require(str(path))
    try:
        kind = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        said = "no such file" if missing else f"cannot be read ({reason(error)})"
        raise UserError(f"{path}: {said}") from error
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "a pipe or a device"
        raise UserError(f"{path}: {what}, not a video")
    with open_file(path) as file:
        beginning = file.read(300)
    other = kind_of(beginning) if beginning else "an empty file"
    if other:
        raise UserError(f"{path}: not a video but {other}")
    try:
        # A file may be a playlist, which must not lead anywhere else.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, ValueError) as error:
        raise UserError(
            f"{path}: not a video that can be read, or cut off before its index ({reason(error)})"
        ) from error
    try:
        return Video(container, str(path), path, max_pixels)
    except BaseException:
        container.close()
        raise


def open_camera(number: int, opener: Callable[..., Any] | None = None) -> Video:
    """Open a camera of this machine.

    Args:
        number: counted from 0.
        opener: stands in for `av.open`.

    Raises:
        UserError: there is no such camera, or none can be read on this system.
    """
    name = f"camera:{number}"
    av = require(name)
    open_device = opener or av.open
    if sys.platform.startswith("linux"):
        device, options = f"/dev/video{number}", {"format": "v4l2"}
    elif sys.platform == "darwin":
        device = f"{number}:none"
        options = {"format": "avfoundation", "options": {"framerate": str(CAMERA_RATE)}}
    else:
        raise UserError(f"{name}: cameras are read on Linux and macOS; record a file and give that")
    try:
        return Video(open_device(device, **options), name, None)
    except (av.error.FFmpegError, ValueError) as error:
        raise UserError(
            f"{name}: no camera that can be read at {device} ({reason(error)})"
        ) from error


def _video_stream(container: Any, name: str) -> Any:
    """The video to decode: not the picture on a song's cover."""
    streams = [s for s in container.streams.video if not int(s.disposition) & 0x400]
    if not streams:
        raise UserError(f"{name}: there is no video in it")
    stream = streams[0]
    if stream.codec_context is None or not stream.codec_context.width:
        codec = stream.codec_context.name if stream.codec_context else "unknown to PyAV"
        raise UserError(f"{name}: its video cannot be decoded (codec {codec})")
    stream.thread_type = "AUTO"
    return stream


def _duration(container: Any, stream: Any, start: Fraction) -> Fraction | None:
    """Seconds of the video, where the file itself says so."""
    if stream.duration and stream.time_base:
        return stream.duration * Fraction(stream.time_base)
    # Matroska tells when it ends, and a part that was cut out of a recording may begin late.
    length = (_end(container, stream) or Fraction(0)) - start
    return length if length > 0 else None


def _end(container: Any, stream: Any) -> Fraction | None:
    """When a file ends by what it says of itself, in its own time stamps, seconds."""
    tag = stream.metadata.get("DURATION", "")  # of Matroska: 00:00:02.040000000
    try:
        hours, minutes, seconds = tag.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
    except ValueError:
        pass
    if container.duration and len(container.streams) == 1:
        return Fraction(container.duration, 1_000_000)
    return None


def _pixels_of(frame: Any) -> Callable[[], np.ndarray]:
    return lambda: pixels(frame)


def pixels(frame: Any) -> np.ndarray:
    """A decoded frame as RGB uint8 [H, W, 3], turned as its file says to show it."""
    unspecified = frame.colorspace == 2
    source = "ITU709" if unspecified and frame.height >= HD_HEIGHT else None
    # One thread a frame: several frames are converted at once.
    image = frame.to_ndarray(format="rgb24", src_colorspace=source, threads=1)
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return image
    return np.ascontiguousarray(_as_shown(image, np.frombuffer(bytes(side_data), np.int32)))


def _as_shown(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """An image turned and mirrored by a display matrix of FFmpeg's, to the nearest quarter."""
    # (x, y) is shown at (a x + c y, b x + d y)
    a, b, _, c, d = matrix[:5].tolist()
    if abs(b) > abs(a):
        image = image.swapaxes(0, 1)
        a, d = c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
