"""An MP4 with the frames that are handed in and the sound of the video they come from."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.io import DRAFT
from ggnet_jax.video.pyav import reason, require

# The first that PyAV's FFmpeg has; a build without x264 has its own MPEG-4.
ENCODERS = {"libx264": {"preset": "veryfast", "crf": "20"}, "mpeg4": {"qscale": "3"}}
COPIED_SOUND = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
"""Codecs that an MP4 may have; sound of another one is encoded as AAC."""

_LARGEST = 16384  # pixels of a side, in H.264
_FINEST = 65535  # ticks a second that every encoder takes
_LEAST_MP3 = 16000  # samples a second that the standard has
# Speakers of sound that only counts its channels, as AVI's does.
_SPEAKERS = ("mono", "stereo", "2.1", "quad", "5.0", "5.1", "6.1", "7.1")
_BT709 = 1  # of colors; all players know it


class VideoWriter:
    """Writes an MP4 that has its name only when it is whole.

    A context manager: when its block raises, nothing is left.

    Attributes:
        sound_lost: once it is written, what of the sound it lacks, in words.
    """

    def __init__(
        self,
        path: Path,
        frame_rate: Fraction,
        *,
        time_base: Fraction | None = None,
        pixel_shape: Fraction = Fraction(1),
        sound_of: Path | None = None,
        sound_start: Fraction = Fraction(0),
    ):
        """Say what is to be written; the file is opened with the first frame, whose size counts.

        Args:
            path: of the file.
            frame_rate: about how many frames a second there will be.
            time_base: seconds a tick of the times to come; they are rounded to another one where
                it is too fine.
            pixel_shape: width over height of a pixel as shown.
            sound_of: the video whose sound is taken over.
            sound_start: where in it time 0 is, seconds.
        """
        self._av = require(str(path))
        self._path, self._draft = path, path.with_name(path.name + DRAFT)
        self._frame_rate, self._pixel_shape = frame_rate, pixel_shape
        if time_base is None or time_base.denominator > _FINEST or time_base.numerator != 1:
            time_base = Fraction(1, 60000)
        self._time_base = time_base
        self._sound_of, self._sound_start = sound_of, sound_start
        self._out: Any = None
        self._video: Any = None
        self._sound: Sound | None = None
        self._ticks = -1
        self.sound_lost: str | None = None

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, image: np.ndarray, time: Fraction) -> None:
        """Append a frame.

        Args:
            image: RGB uint8 [H, W, 3] of the first frame's size.
            time: seconds, later than the frame before; a tick later if it is not.

        Raises:
            UserError: it cannot be written.
        """
        with self._named():
            if self._ticks < 0:
                self._open(image.shape[1], image.shape[0])
            frame = self._av.VideoFrame.from_ndarray(_even(image), format="rgb24")
            frame = frame.reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            self._ticks = max(round(time / self._time_base), self._ticks + 1)
            frame.pts, frame.time_base = self._ticks, self._time_base
            self._out.mux(self._video.encode(frame))
            if self._sound:
                self._sound.copy_until(time)

    def _open(self, width: int, height: int) -> None:
        av = self._av
        if max(width, height) > _LARGEST:
            raise UserError(
                f"cannot write {self._path}: its frames have {width} x {height} pixels, and those "
                f"of an MP4 at most {_LARGEST} a side"
            )
        name = next((name for name in ENCODERS if _has_encoder(av, name)), None)
        if name is None:
            raise UserError(f"this FFmpeg can encode none of {', '.join(ENCODERS)}; pip install av")
        self._out = av.open(
            f"file:{self._draft}", "w", format="mp4", options={"movflags": "+faststart"}
        )
        video = self._out.add_stream(name, rate=self._frame_rate, options=ENCODERS[name])
        video.width, video.height = width + width % 2, height + height % 2
        video.pix_fmt = "yuv420p"
        context = video.codec_context
        context.time_base = self._time_base
        context.sample_aspect_ratio = self._pixel_shape
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = 1  # 16 to 235
        self._video = video
        if self._sound_of is not None:
            self._sound = Sound(av, self._sound_of, self._sound_start, self._out)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if self._sound and kind is not None:
            self._sound.close()
        if self._out is None:
            return
        try:
            if kind is None:
                with self._named():
                    self._out.mux(self._video.encode(None))
                    if self._sound:
                        self._sound.copy_until(None)
                        self.sound_lost = self._sound.lost()
                    self._out.close()
                    os.replace(self._draft, self._path)
        finally:
            with contextlib.suppress(self._av.error.FFmpegError, OSError):
                self._out.close()
            self._draft.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (self._av.error.FFmpegError, OSError) as error:
            raise UserError(f"cannot write {self._draft}: {reason(error)}") from error


class Sound:
    """The sound of a video, copied into another one as far as that has got."""

    def __init__(self, av: Any, path: Path, start: Fraction, out: Any):
        """Add the tracks of a file to an output.

        Args:
            av: the module.
            path: of the file.
            start: where in it time 0 is, seconds.
            out: container to write into.
        """
        self._av, self._start, self._out = av, start, out
        self._source = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
        self._tracks: dict[int, Any] = {}
        self._encoded: dict[int, Any] = {}
        self._impossible: list[str] = []  # names of codecs
        self._gaps = 0
        for stream in self._source.streams.audio:
            context = stream.codec_context
            if context is None or not context.sample_rate:
                continue  # nothing that a player could play either
            if _is_copied(context):
                track = out.add_stream_from_template(stream)
            else:
                taken = _as_aac(av, context)
                if taken is None:
                    self._impossible.append(context.name)
                    continue
                track = out.add_stream("aac", rate=taken[0], layout=taken[1])
                self._encoded[stream.index] = av.AudioResampler(
                    format=track.format, layout=track.layout, rate=track.rate
                )
            self._tracks[stream.index] = track
        wanted = [stream for stream in self._source.streams if stream.index in self._tracks]
        self._packets: Iterator[Any] = self._source.demux(wanted) if wanted else iter(())
        self._next: Any = None

    def copy_until(self, time: Fraction | None) -> None:
        """Copy what comes before a time in seconds; all that is left if it is None."""
        while True:
            if self._next is None:
                try:
                    self._next = next(self._packets)
                except (StopIteration, self._av.error.FFmpegError):  # or cut off
                    break
            packet = self._next
            if packet.dts is not None:
                at = packet.dts * Fraction(packet.time_base) - self._start
                if time is not None and at > time:
                    return
                try:
                    self._copy(packet)
                except (self._av.error.InvalidDataError, self._av.error.ArgumentError):
                    self._gaps += 1  # a damaged packet, or one that goes back in time
            self._next = None
        if time is None:
            for index, resampler in self._encoded.items():
                self._encode(index, resampler.resample(None))
                self._out.mux(self._tracks[index].encode(None))
            self.close()

    def _copy(self, packet: Any) -> None:
        index = packet.stream.index
        if index in self._encoded:
            for frame in packet.decode():
                self._encode(index, self._encoded[index].resample(frame))
            return
        shift = round(self._start / Fraction(packet.time_base))
        packet.dts -= shift
        packet.pts = packet.dts if packet.pts is None else packet.pts - shift
        packet.stream = self._tracks[index]
        self._out.mux(packet)

    def _encode(self, index: int, frames: Any) -> None:
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= round(self._start / Fraction(frame.time_base))
            self._out.mux(self._tracks[index].encode(frame))

    def lost(self) -> str | None:
        """What could not be copied, in words."""
        if self._impossible:
            return f"its sound ({', '.join(self._impossible)}) cannot be in an MP4 and is left out"
        if self._gaps:
            packets = "packet is" if self._gaps == 1 else "packets are"
            return f"its sound has gaps, {self._gaps} {packets} damaged"
        return None

    def close(self) -> None:
        """Close the file that the sound comes from."""
        self._source.close()


def _is_copied(context: Any) -> bool:
    """Whether an MP4 may have the sound of a decoder as it is."""
    name = context.name.removesuffix("float")
    return name in COPIED_SOUND and (name != "mp3" or context.sample_rate >= _LEAST_MP3)


def _as_aac(av: Any, context: Any) -> tuple[int, str] | None:
    """Samples a second and speakers, of those that AAC has the nearest to a decoder's."""
    named = dict(enumerate(_SPEAKERS, 1)).get(context.layout.nb_channels, "stereo")
    for rate in (context.sample_rate, 48000):
        for layout in (context.layout.name, named, "stereo"):
            trial = av.CodecContext.create("aac", "w")
            trial.sample_rate, trial.layout, trial.format = rate, layout, "fltp"
            try:
                trial.open(strict=False)
            except (av.error.FFmpegError, ValueError):
                continue
            return rate, layout
    return None


def _has_encoder(av: Any, name: str) -> bool:
    try:
        av.codec.Codec(name, "w")
    except av.error.FFmpegError:
        return False
    except ValueError:  # UnknownCodecError
        return False
    return True


def _even(image: np.ndarray) -> np.ndarray:
    """An image of even width and height, its last row and column repeated where it has not."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(image)
