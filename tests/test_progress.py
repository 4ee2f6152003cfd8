"""Laws of progress: on standard error, sparingly, and never without an end."""

import io
import sys

import pytest

from hmx import progress
from hmx.progress import Progress, counted


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves by hand."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_plain_lines_go_to_standard_error(capsys, clock):
    Progress.console().step(1, 10, "training: epoch 1")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "training: epoch 1 (1/10)\n"


def test_plain_lines_are_seconds_apart(capsys, clock):
    report = Progress.console().step
    for done in range(1, 9):
        report(done, 10, "tiles")
        clock.now += 2.0
    said = [line.split("(")[1] for line in capsys.readouterr().err.splitlines()]
    assert said == ["1/10)", "4/10)", "7/10)"]


def test_the_last_line_is_always_said(capsys, clock):
    report = Progress.console().step
    for done in range(1, 11):
        report(done, 10, "tiles")
    assert capsys.readouterr().err.splitlines() == ["tiles (1/10)", "tiles (10/10)"]


def test_reporters_do_not_share_their_clock(capsys, clock):
    for _ in range(2):
        Progress.console().step(1, 10, "tiles")
    assert capsys.readouterr().err == "tiles (1/10)\n" * 2


def test_a_terminal_gets_one_bar_for_each_piece_of_work(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    report = Progress.console().step
    for done in range(1, 4):
        report(done, 3, f"training: epoch {done}")
    for done in range(1, 3):
        report(done, 2, "tiles")
    last = [line.split("\r")[-1] for line in terminal.getvalue().strip().split("\n")]
    assert len(last) == 2
    assert last[0].startswith("training: 100%")
    assert "3/3" in last[0]
    assert "epoch 3" in last[0]
    assert last[1].startswith("tiles: 100%")


def test_silence_is_silent(capsys):
    for silence in (Progress(), Progress.of(None)):
        silence.note("training")
        silence.step(1, 1, "tiles")
    assert capsys.readouterr() == ("", "")


def test_a_plain_callable_gets_the_steps():
    steps = []
    Progress.of(lambda *step: steps.append(step)).within("evaluate").step(1, 2, "tiles")
    assert steps == [(1, 2, "evaluate: tiles")]


def test_work_of_the_same_name_that_begins_again_is_reported_at_once(capsys, clock):
    report = Progress.console().step
    report(3, 10, "training: epoch 3")  # which stops early
    report(1, 10, "training: epoch 1")
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_things_are_counted_in_words():
    assert counted(1, "tile") == "1 tile"
    assert counted(0, "tile") == "0 tiles"
    assert counted(1204, "chunk") == "1,204 chunks"
