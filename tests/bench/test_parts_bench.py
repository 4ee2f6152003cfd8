"""The benchmark of a job's parts is run once, small, so that it never rots."""

from __future__ import annotations

import argparse
import json

import pytest

from tests.bench import parts


def test_the_benchmark_of_parts_runs(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--side=64", "--width=2", "--members=2", "--tile=32", "--exceed", "0.2", "--json"]
    assert parts.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["here"]
    for part in ("job", "reading", "networks", "rest of window", "writing"):
        assert row[part] > 0
    assert "window over its networks" in parts.table(found, argparse.Namespace(side=64))
