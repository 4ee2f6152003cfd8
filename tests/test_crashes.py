"""Laws of commands that are killed, and of commands that are started together.

A sample of what ``tests.bench.crashes`` and ``tests.bench.together`` do at length.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.make.crashes import COMMANDS, Crashes, tree
from tests.make.forks import Server
from tests.make.together import Together

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks at /proc"),
]
KILLS = 2


@pytest.mark.parametrize("name", ["ingest", "append", "train", "forecast", "export", "map"])
def test_a_command_that_was_killed_is_finished_by_the_same_command(
    ready: Server, tmp_path: Path, name: str
) -> None:
    crashes = Crashes(ready, tmp_path, COMMANDS[name])
    tested = crashes.kill(random.Random(name).sample(crashes.every(), KILLS))
    assert tested.killed == KILLS
    assert tested.good, tested


def test_a_kill_leaves_what_an_undisturbed_command_does_not(ready: Server, tmp_path: Path) -> None:
    """What the other laws rest on: commands die where they should, and trees tell."""
    crashes = Crashes(ready, tmp_path, COMMANDS["ingest"])
    assert crashes.points[0].endswith(".toy.zarr.lock")
    assert any("zarr.json" in point for point in crashes.points)
    crashes.kill([(1, False)])
    assert tree(crashes.work) == crashes.wanted
    crashes._reset()
    assert crashes._run(kill=len(crashes.points) // 2).code == -9
    left = tree(crashes.work)
    assert any(name.startswith(".toy.zarr.draft/new/") for name in left)
    assert "toy.zarr/zarr.json" not in left


def test_commands_started_together_leave_what_one_leaves(ready: Server, tmp_path: Path) -> None:
    together = Together(ready, tmp_path / "here")
    for groups, size in ((2, 2), (1, 3)):
        met = together.meet(groups, size, seed=size)
        assert met.good, [met.failed, met.different]
    assert "toy.zarr/zarr.json" in together.wanted
