"""Workflow: make what a catalog names, and reuse what exists and is current.

Both jobs have the same products: a cube, a model, a result (a forecast or a map), a
scorecard and a report. The command line is these functions with flags.
"""

from hmx.workflow.ensure import (
    describe_points,
    ensure_cube,
    ensure_inputs,
    ensure_model,
    ensure_predictions,
    ensure_report,
    ensure_result,
    ensure_zones,
    evaluate,
    select_covariates,
)
from hmx.workflow.planning import plan_folds, plan_result, plan_zones
from hmx.workflow.stock import ensure_stock

__all__ = [
    "describe_points", "ensure_cube", "ensure_inputs", "ensure_model", "ensure_predictions",
    "ensure_report", "ensure_result", "ensure_stock", "ensure_zones", "evaluate", "plan_folds",
    "plan_result", "plan_zones", "select_covariates",
]  # fmt: skip
