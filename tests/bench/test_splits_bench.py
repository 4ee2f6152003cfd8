"""The benchmark of folds of samples is run once, small, so that it never rots."""

from __future__ import annotations

import json

import pytest

from tests.bench import splits


def test_the_splits_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert splits.main(["--worlds", "1", "--side", "60", "--json"]) == 0
    skill = json.loads(capsys.readouterr().out)["skill"]
    assert set(skill) == {splits.TRUE, *splits.WAYS}
    assert all(len(scores) == 1 for scores in skill.values())
