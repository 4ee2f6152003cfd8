"""What tests of a CUDA device share.

``HMX_TEST_DEVICE=cpu`` runs them on the CPU, with the same code but for the laws of CUDA itself: it
shows that they are sound where there is no GPU, and nothing about one.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

DEVICE = os.environ.get("HMX_TEST_DEVICE", "cuda")
ROUNDED = 1e-6  # of the value range, as between tiles on the CPU
TIGHT: dict[str, Any] = {"h": 2, "level": [80], "quantiles": [0.5]}

cuda_only = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device"
    ),
]


def largest(one: xr.Dataset, other: xr.Dataset) -> float:
    """Largest difference of any variable, infinite where one has data and the other has none."""
    worst = 0.0
    for name in one.data_vars:
        a, b = one[name].values.astype("float64"), other[name].values.astype("float64")
        if not np.array_equal(np.isnan(a), np.isnan(b)):
            return float("inf")
        worst = max(worst, float(np.nanmax(np.abs(a - b), initial=0.0)))
    return worst
