"""A bar in a file is a line now and then."""

import time

from ggnet_jax import progress


def test_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.1)
    with progress.progress_bar(total=6, desc="evaluate", unit="image") as bar:
        for _ in range(6):
            time.sleep(0.06)
            bar.update(1)
    text = capsys.readouterr().err
    assert "\r" not in text
    lines = text.splitlines()
    assert lines and all(line.startswith("evaluate: ") and "/6, " in line for line in lines)


def test_what_is_said_beside_a_bar_is_one_line(capsys):
    with progress.progress_bar(total=6, desc="evaluate") as bar:
        for number in range(6):
            bar.update(1)
            progress.say(f"skipped {number}")
    assert capsys.readouterr().err.splitlines() == [f"skipped {number}" for number in range(6)]


def test_what_is_done_at_once_says_nothing(capsys):
    with progress.progress_bar(total=6, desc="evaluate") as bar:
        bar.update(6)
    assert list(progress.progress_bar(range(3), disable=True)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
