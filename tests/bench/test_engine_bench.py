"""The benchmark of the engine is run once, small, so that it never rots."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.bench import blending, engine


def test_the_engine_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    try:
        assert engine.main(["--quick", "--json", "--networks", "default"]) == 0
    finally:
        torch.set_num_threads(before)
    found = json.loads(capsys.readouterr().out)["networks"]["default"]
    assert found["rows"]["plain"]["over_plain"] == 1
    assert all(row["kpx_per_s"] > 0 for row in found["rows"].values())
    assert found["errors"]["float32, largest"] <= 1e-6
    assert 0 < found["errors"]["bfloat16, RMS over RMS change"] <= 0.01


def test_blending_covers_every_pixel_and_keeps_a_constant() -> None:
    inputs = tuple(np.ones((3, *lead, 150, 133), "float32") for lead in ((), (), (0,)))
    static = np.ones((2, 150, 133), "float32")
    blended = blending.blend(
        lambda part: part[0][:2, None] * [[[7]], [[9]]], (*inputs, static), h=2
    )
    np.testing.assert_allclose(blended[:, 0], 7, rtol=1e-6)
    np.testing.assert_allclose(blended[:, 1], 9, rtol=1e-6)


@pytest.mark.parametrize("size", [100, 128, 129, 192, 512])
def test_tiles_to_blend_overlap_to_the_end(size: int) -> None:
    found = blending.starts(size, 128, 64)
    assert found[0] == 0
    assert found[-1] == max(0, size - 128)
    assert all(later - earlier <= 64 for earlier, later in pairwise(found))
