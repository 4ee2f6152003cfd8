"""Scores that add up: the state of two pieces, added, is that of the whole.

States contain sums, never means, so a raster can be scored tile by tile, in any order and on
any worker. Finished figures are properties; those of a scorecard are found by the registry of
:mod:`hmx.scores.sums`.

=======================  ====================================================
:class:`Score`           bias, MAE, RMSE, CRPS; :func:`skill` compares two
:class:`Coverage`        of central intervals: share inside, width, score
:class:`PitHistogram`    whether probabilities come true
:class:`Structure`       SSIM, exact across tiles
:class:`Events`          precision and recall of change above a threshold
:class:`Cell`            all of these for one forecaster, lead and stratum
:class:`Tally`           cells of all forecasters, leads and strata
=======================  ====================================================

Predictions at points are few, so their scores take whole arrays: :mod:`hmx.scores.regression`.
:mod:`hmx.scores.quantile` scores distributions; :mod:`hmx.uncertainty.distribution` has their
arithmetic; :mod:`hmx.scores.card` is what any scorecard is.
"""

from hmx.scores.cell import Cell, common_mask
from hmx.scores.coverage import Coverage, PitHistogram
from hmx.scores.events import Events
from hmx.scores.quantile import crps, pit, quantile_at, uniforms
from hmx.scores.regression import (
    SCORES,
    Difference,
    band_scores,
    bands_of,
    interval_scores,
    paired_bootstrap,
    regression_scores,
)
from hmx.scores.score import Score, skill
from hmx.scores.structure import Structure, ssim_map
from hmx.scores.sums import CellMetric, ScoredPixels, Settings, metric, metrics
from hmx.scores.tally import Prediction, Scene, Tally, pooled

__all__ = [
    "SCORES", "Cell", "CellMetric", "Coverage", "Difference", "Events", "PitHistogram",
    "Prediction", "Scene", "Score", "ScoredPixels", "Settings", "Structure", "Tally", "band_scores",
    "bands_of", "common_mask", "crps", "interval_scores", "metric", "metrics", "paired_bootstrap",
    "pit", "pooled", "quantile_at", "regression_scores", "skill", "ssim_map", "uniforms",
]  # fmt: skip
