"""Options: where training is logged."""

from __future__ import annotations

from typing import Literal

from hmx.settings import Options


class TrackSection(Options):
    """Where training is logged besides the CSV that is always written."""

    wandb: Literal["offline", "online", "disabled"] = "disabled"
    project: str = "hmx"
