"""The benchmark of context channels is run once, small, so that it never rots."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hmx.features.context import Context, derive
from hmx.windows import Window
from tests.bench import context


def test_the_context_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--side", "48", "--radii", "1,3", "--turns", "1", "--piece", "9", "--json"]
    assert context.main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"default", "uniform filters", "pixel by pixel, 9 px"} <= {
        row["way"] for row in report["rows"]
    }
    assert all(row["mpx_per_s"] > 0 for row in report["rows"])
    assert report["largest_difference"] < 1e-5


@pytest.mark.parametrize("holes", [False, True])
def test_the_baselines_compute_the_same_channels(holes: bool) -> None:
    chosen, series = Context(radii=(1, 4)), context.land((20, 23), holes=holes)
    made = derive(chosen, {"hm": series}, "hm", pixel_size=context.SIZE, crop=Window.of((20, 23)))
    np.testing.assert_allclose(context.usual(chosen, series), made, atol=1e-6)
    naive = context.naive(chosen, series)  # nanmean: beyond the edge is left out, too
    np.testing.assert_allclose(naive, made[:-1], atol=1e-6)
