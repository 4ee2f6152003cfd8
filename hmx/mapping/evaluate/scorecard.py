"""Scorecard of a map: every forecaster on the same held-out samples, and what to use.

It contains the estimates of every sample for each way of folding
(:class:`hmx.mapping.evaluate.rounds.CrossValidated`); all figures follow from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from hmx.errors import BadArgument, SourceError, missing_variable
from hmx.files.durable import Folder
from hmx.files.paths import absolute
from hmx.mapping.checks import CheckSheet, check_errors
from hmx.mapping.evaluate.rounds import BLEND, CrossValidated
from hmx.mapping.evaluate.stored import describe, pack, predictions_csv, read_part, unpack
from hmx.mapping.evaluate.text import as_text, tables, verdict
from hmx.mapping.evaluate.weighting import WEIGHTED, TaskWeights
from hmx.mapping.target import TargetScaler, bounded
from hmx.mapping.train.importance import Importance
from hmx.pictures.mapping import draw_bands, draw_intervals, draw_residuals, draw_scatter
from hmx.report.page import Drawing, TextTable
from hmx.scores import (
    SCORES,
    Difference,
    band_scores,
    interval_scores,
    paired_bootstrap,
    regression_scores,
)  # fmt: skip
from hmx.scores.card import CARD, Card, Figures
from hmx.splits.report import FoldReport
from hmx.splits.site_folds import SiteFolds

Array = NDArray[np.float64]

ENSEMBLE = " ensemble"  # after the name of a forecaster with members: their mean
ROUNDS = "rounds.safetensors"
TOP = 0.9  # quantile above which samples are a stratum: high stocks matter and are hard


@dataclass(frozen=True, eq=False, repr=False)
class MapScorecard(Card):
    """The measured skill of a mapper, and whether to use it.

    Parameters
    ----------
    splits : mapping of str to CrossValidated
        By name of the folds, such as ``"blocks of 20 km"``; the first decides the verdict.
    model : str, optional
        The forecaster that is judged. Default: the blend, or the ensemble of the first
        forecaster, or that itself.
    reference : str
        The forecaster that the model is compared with first.
    scale : str
        Of the truths, such as ``log1p(soc)``.
    scaler : TargetScaler
        Transform of the truths. If there is one, everything is scored in native units, too.
    facts : mapping of str to JSON values
        What was scored: target, units, digests, options.
    distances : FoldReport, optional
        Distances that each way of folding tests.
    importance : Importance, optional
        Of the covariates.
    ids : tuple, optional
        Names of the samples: the user's ids, or rows of the table from 0.
    weighted : TaskWeights, optional
        Weights of all held-out predictions, split by split, that make them like the map's.

    Raises
    ------
    MissingVariable
        If model or reference is not among the forecasters.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "split", "forecaster", "scale", "stratum", "metric", "value",
    )  # fmt: skip
    FORMAT: ClassVar[str] = "hmx_map_scorecard"

    splits: Mapping[str, CrossValidated]
    model: str = ""
    reference: str = "forest"
    scale: str = "transformed"
    scaler: TargetScaler = field(default_factory=TargetScaler)
    facts: Mapping[str, Any] = field(default_factory=dict)
    distances: FoldReport | None = None
    importance: Importance | None = None
    ids: tuple[object, ...] = ()
    weighted: TaskWeights | None = None

    def __post_init__(self) -> None:
        if not self.model:
            first = next(iter(self._main.estimates))
            names = (BLEND, first + ENSEMBLE, first)
            model = next(name for name in names if name in self.forecasters)
            object.__setattr__(self, "model", model)
        for name in (self.model, self.reference):
            if name not in self.forecasters:
                raise missing_variable(name, self.forecasters, where="the forecasters")

    @property
    def main(self) -> str:
        """Name of the folds that decide the verdict."""
        return next(iter(self.splits))

    @property
    def _main(self) -> CrossValidated:
        return self.splits[self.main]

    @cached_property
    def forecasters(self) -> tuple[str, ...]:
        """Every name; one with members stands for their mean score, then for their ensemble."""
        names = []
        for name, estimates in self._main.estimates.items():
            names += [name, name + ENSEMBLE] if len(estimates.members) > 1 else [name]
        return tuple(names)

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the prediction intervals, percent."""
        return tuple(dict.fromkeys(n for found in self._main.bounds.values() for n in found))

    @property
    def truth(self) -> Array:
        """Truths, transformed units, (n,)."""
        return self._main.truth

    @property
    def lonlat(self) -> Array:
        """Longitude and latitude of the samples, degrees, (n, 2)."""
        return self._main.folds.sites.lonlat

    @property
    def calibration(self) -> str:
        """What the intervals were learnt from, in words."""
        return self._main.calibration

    def center(self, forecaster: str, split: str | None = None) -> Array:
        """Return held-out predictions, transformed units, (n,); of members, their mean."""
        validated = self.splits[split or self.main]
        return validated.estimates[forecaster.removesuffix(ENSEMBLE)].center

    def bounds(self, forecaster: str) -> Mapping[float, tuple[Array, Array]]:
        """Return prediction intervals of the main folds by level: lower, upper, (n,) each."""
        return self._main.bounds.get(forecaster.removesuffix(ENSEMBLE), {})

    @property
    def verdict(self) -> str:
        """One sentence: whether to use the model."""
        return verdict(self)

    def value(
        self,
        metric: str,
        forecaster: str | None = None,
        *,
        split: str | None = None,
        scale: str | None = None,
        stratum: str = "all",
    ) -> float:
        """Look up a figure.

        Parameters
        ----------
        metric : str
            Such as ``r2``, ``rmse``, ``ccc``; ``r2_sd`` over members; ``picp_90``,
            ``width_90``, ``score_90``, ``picp_90_least_fold``.
        forecaster, split, scale, stratum
            Which row; by default the model's, on the main folds, in transformed units, over
            all samples. Other strata are ``top`` (highest tenth of the truths),
            ``top predicted`` and ``truth 0-25 %`` ....

        Returns
        -------
        float
            NaN if there is none.
        """
        key = (split or self.main, forecaster or self.model, scale or self.scale, stratum)
        return self.look_up(key, metric)

    @cached_property
    def table(self) -> Mapping[tuple[str, str, str, str], Figures]:
        """Every figure, by (split, forecaster, scale, stratum) and name."""
        scales: dict[str, Callable[[Array], Array]] = {self.scale: lambda values: values}
        if self.scaler.transform != "none":
            scales["native"] = self.native
        found = {
            (split, name, scale, stratum): figures
            for split, validated in self.splits.items()
            for name in self.forecasters
            for scale, turn in scales.items()
            for stratum, figures in self._figures(validated, name, turn)
        }
        if self.weighted is not None:
            for name in self.forecasters:
                for scale, turn in scales.items():
                    base = name.removesuffix(ENSEMBLE)
                    parts = [
                        (one.truth, one.estimates[base].members) for one in self.splits.values()
                    ]
                    figures = self.weighted.scores(parts, turn, together=name != base)
                    found[WEIGHTED, name, scale, "all"] = figures
        return found

    def _figures(
        self, validated: CrossValidated, name: str, turn: Callable[[Array], Array]
    ) -> Iterator[tuple[str, Figures]]:
        """Yield the strata of a forecaster with their figures; `turn` changes the units."""
        base = name.removesuffix(ENSEMBLE)
        estimates, truth = validated.estimates[base], turn(validated.truth)
        if name in validated.estimates and len(estimates.members) > 1:
            single = [regression_scores(truth, turn(member)) for member in estimates.members]
            mean = {key: float(np.mean([one[key] for one in single])) for key in single[0]}
            # n - 1: the members' seeds are a sample of all seeds
            sd = {f"{k}_sd": float(np.std([one[k] for one in single], ddof=1)) for k in SCORES}
            yield "all", mean | sd | {"members": float(len(single))}
            return
        center = turn(estimates.center)
        spans = {
            level: (turn(lower), turn(upper))
            for level, (lower, upper) in validated.bounds.get(base, {}).items()
        }
        strata = {
            "all": np.ones(len(truth), bool),
            "top": truth >= np.quantile(truth, TOP),
            "top predicted": center >= np.quantile(center, TOP),
        }
        for stratum, rows in strata.items():
            figures = regression_scores(truth[rows], center[rows])
            for level, (lower, upper) in spans.items():
                scores = interval_scores(truth[rows], lower[rows], upper[rows], level=level)
                figures |= {f"{key}_{level:g}": value for key, value in scores.items()}
                if stratum == "all":
                    # A mean over folds hides a region whose intervals fail.
                    fold, inside = validated.folds.fold, (truth >= lower) & (truth <= upper)
                    shares = np.bincount(fold, inside) / np.bincount(fold)
                    figures[f"picp_{level:g}_least_fold"] = float(shares.min())
                    figures[f"picp_{level:g}_most_fold"] = float(shares.max())
            yield stratum, figures
        for band in band_scores(truth, center):
            share = f"{100 * band['share_from']:g}-{100 * band['share_to']:g}"
            yield f"truth {share} %", band

    def difference(
        self, other: str, *, metric: str = "r2", split: str | None = None, seed: int = 0
    ) -> Difference:
        """Compare the model with another forecaster, in a bootstrap of the folds' groups.

        Parameters
        ----------
        other : str
            Its name.
        metric : str
            One of :data:`hmx.scores.SCORES`; transformed units.
        split : str, optional
            Default: the main folds.
        seed : int
            Of the bootstrap.
        """
        validated = self.splits[split or self.main]
        ours, theirs = (self.center(name, split) for name in (self.model, other))
        groups = validated.folds.group
        return paired_bootstrap(validated.truth, ours, theirs, groups, metric=metric, seed=seed)

    @cached_property
    def differences(self) -> Mapping[tuple[str, str], Difference]:
        """The model's R2 less that of each other forecaster, by (split, other)."""
        return {
            (s, name): self.difference(name, split=s) for s in self.splits for name in self.rivals
        }

    def checks(self) -> CheckSheet:
        """Check the model's held-out errors as rules for soil carbon ask; hmx certifies nothing.

        Native units, on the main folds: coverage of 90 % intervals with the range that chance
        explains, R2 above 0, a test of bias with the number of samples that count as independent,
        and pairs of samples within 500 m.

        Returns
        -------
        CheckSheet
            ``print`` it; ``sheet["no bias"].result`` is ``passed``, ``failed`` or ``not
            computable``; ``sheet.markdown()`` is a section of a report.
        """
        return self._checks

    def native(self, values: Array) -> Array:
        """Turn estimates or ends of intervals into native units."""
        known = self.facts.get("valid_range")
        limits = None if known is None else (float(known[0]), float(known[1]))
        return bounded(values, self.scaler, truth=self.truth, valid_range=limits)

    @cached_property
    def _checks(self) -> CheckSheet:
        ends, native = self.bounds(self.model), self.native
        return check_errors(
            native(self.truth),
            native(self.center(self.model)),
            {level: (native(low), native(high)) for level, (low, high) in ends.items()},
            self.lonlat,
            source=f"{self.model} on {self.main}, {len(self.truth):,} held-out samples",
            units=str(self.facts.get("units") or ""),
        )

    @property
    def rivals(self) -> tuple[str, ...]:
        """All other forecasters than the model; an ensemble stands for its members."""
        base = self.model.removesuffix(ENSEMBLE)
        named = [name for name in self.forecasters if name.removesuffix(ENSEMBLE) != base]
        return tuple(name for name in named if name + ENSEMBLE not in named)

    def contents(self) -> dict[str, Any]:
        """Return units, facts, folds, figures, differences, and how to read the rounds."""
        differences = [
            {"split": split, "other": other} | vars(found) | {"sure": found.sure}
            for (split, other), found in self.differences.items()
        ]
        return {
            "scale": self.scale,
            "scaler": asdict(self.scaler),
            "facts": dict(self.facts),
            "folds": self.distances.as_dict() if self.distances else None,
            "scores": self.scores(),
            "differences": differences,
            "importance": self.importance.as_dict() if self.importance else None,
            "ids": list(self.ids),
            "weighted": self.weighted and self.weighted.as_dict(),
            "checks": self.checks().as_dict(),
            "rounds": describe(self.splits),
            "splits": {name: validated.folds.as_dict() for name, validated in self.splits.items()},
        }

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Yield the estimates of every sample, the tables and the text."""
        # The empty card marks the folder as one of hmx, if the process dies halfway.
        yield CARD, b'{"hmx_map_scorecard": null}'
        yield ROUNDS, pack(self.splits)
        yield "scores.csv", self.scores_csv()
        yield "predictions.csv", predictions_csv(self.splits, self.model, self.ids, self.native)
        yield "scorecard.txt", str(self).encode()
        yield "checks.md", self.checks().markdown().encode()

    def tables(self) -> list[TextTable]:
        """Return the tables of a report."""
        return tables(self)

    def plots(self) -> Mapping[str, Callable[[], Drawing]]:
        """Return what draws each plot; the one of intervals only if there are any."""
        draw = {"scatter": draw_scatter, "residuals": draw_residuals, "bands": draw_bands}
        draw |= {"intervals": draw_intervals} if self._main.bounds else {}
        return {f"{name}.png": partial(function, self) for name, function in draw.items()}

    @classmethod
    def load(cls, folder: str) -> MapScorecard:
        """Read the card that :meth:`save` wrote to a directory or URL.

        Raises
        ------
        SourceError
            If there is none, or its parts do not belong together.
        """
        source = Folder(absolute(folder))
        try:
            saved = json.loads(read_part(source, CARD))
            if saved[cls.FORMAT] != cls.VERSION:
                raise ValueError("not finished, or of another version of hmx")
            folds = {name: SiteFolds.from_dict(value) for name, value in saved["splits"].items()}
            return cls(
                unpack(read_part(source, ROUNDS), saved["rounds"], folds),
                model=saved["model"],
                reference=saved["reference"],
                scale=saved["scale"],
                scaler=TargetScaler(**saved["scaler"]),
                facts=saved["facts"],
                distances=saved["folds"] and FoldReport.from_dict(saved["folds"]),
                ids=tuple(saved.get("ids", ())),
                weighted=saved.get("weighted") and TaskWeights.from_dict(saved["weighted"]),
                importance=saved["importance"] and Importance(**saved["importance"]),
            )
        except (KeyError, TypeError, ValueError, SafetensorError, BadArgument) as error:
            raise SourceError(
                f"{folder} holds no scorecard of a map that can be read ({error}). Pass the folder "
                "that ds.soc.evaluate(out=...) or hmx evaluate wrote, or score again."
            ) from None

    def __str__(self) -> str:
        """Write the verdict and the tables for a terminal."""
        return as_text(self)
