"""Options: where training is logged."""

from __future__ import annotations

from typing import Literal

from hmx.settings import Options
from hmx.training.metrics import METRICS as METRICS
from hmx.training.metrics import metric_table as metric_table
from hmx.training.metrics import spread as spread


class TrackSection(Options):
    """Where training is logged besides the CSV that is always written."""

    wandb: Literal["offline", "online", "disabled"] = "disabled"
    project: str = "hmx"
