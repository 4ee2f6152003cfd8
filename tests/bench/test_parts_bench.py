"""The benchmark of a job's parts is run once, small, so that it never rots."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from hmx.networks.options import ModelOptions
from tests.bench import parts
from tests.bench.world import make_model, write_world


def test_the_benchmark_of_parts_runs(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--side=64", "--width=2", "--members=2", "--tile=32", "--exceed", "0.2", "--json"]
    assert parts.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["here"]
    for part in ("job", "reading", "networks", "rest of window", "writing"):
        assert row[part] > 0
    assert "window over its networks" in parts.table(found, argparse.Namespace(side=64))


def test_it_measures_a_cube_and_a_model_of_a_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cube = write_world(tmp_path / "cube.zarr", (40, 48))
    make_model(tmp_path / "model", cube, ModelOptions(width=2))
    words = [f"--cube={cube}", f"--model={tmp_path / 'model'}", "--json"]
    assert parts.main(words) == 0
    (row,) = json.loads(capsys.readouterr().out)["here"]
    assert (row["px"], row["networks"] > 0) == (40 * 48, True)
    with pytest.raises(SystemExit):
        parts.parse([f"--cube={cube}"])
