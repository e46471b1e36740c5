"""A folder of frames: its order, times, and what is broken."""

from fractions import Fraction

import pytest
from PIL import Image
from video_clips import moving_frame, place_of_square

from ggnet_jax.errors import UserError
from ggnet_jax.video.folder import FrameFolder, natural_key


def test_frames_follow_by_the_numbers_in_their_names(tmp_path):
    for number in (10, 9, 2, 100):
        Image.fromarray(moving_frame(number, 96, 64)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "._frame2.png").write_bytes(b"of macOS")
    (tmp_path / "more.png").mkdir()
    video = FrameFolder(tmp_path, Fraction("29.97"), 10**8)
    frames = list(video.frames())
    assert [frame.file_name for frame in frames] == [f"frame{k}.png" for k in (2, 9, 10, 100)]
    assert [frame.time for frame in frames] == [k / Fraction("29.97") for k in range(4)]
    assert video.total == 4 and place_of_square(frames[1].read()) == 36
    assert [frame.number for frame in video.frames(3)] == [0, 3]


def test_names_of_every_kind_can_be_sorted():
    names = ["10", "9", "a", "9a", "a9", "a10", "", "²", "٣", "09"]
    ordered = sorted(names, key=natural_key)
    assert ordered.index("9") < ordered.index("10") and ordered.index("a9") < ordered.index("a10")


def test_an_empty_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no image there"):
        FrameFolder(tmp_path, Fraction(25), 10**8)
    with pytest.raises(UserError, match="cannot read the folder"):
        FrameFolder(tmp_path / "none", Fraction(25), 10**8)


def test_a_broken_frame_says_so_when_it_is_read(tmp_path):
    (tmp_path / "1.png").write_bytes(b"no image")
    [frame] = FrameFolder(tmp_path, Fraction(25), 10**8).frames()
    with pytest.raises(UserError, match=r"1\.png: not an image"):
        frame.read()
