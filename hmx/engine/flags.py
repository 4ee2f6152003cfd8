"""Flags: what a pixel had to do without, as bits."""

from __future__ import annotations

QUALITY = {"covariate_missing": 1, "history_incomplete": 2, "no_data": 4}


NO_DATA = {"quality": QUALITY["no_data"], "applicable": 255}  # what flags say of such pixels
