"""Scorecard of a map: every forecaster on the same held-out samples, and what to use.

For each way of folding it holds what forecasters said of every sample
(:class:`hmx.mapping.evaluate.rounds.CrossValidated`); all figures follow from that.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from hmx.errors import BadArgument, SourceError, missing_variable
from hmx.files.durable import Folder
from hmx.files.jsontext import as_json, finite
from hmx.files.paths import absolute
from hmx.mapping.evaluate.rounds import BLEND, CrossValidated
from hmx.mapping.evaluate.stored import csv_of, describe, pack, part_of, predictions_csv, unpack
from hmx.mapping.evaluate.text import as_text
from hmx.mapping.evaluate.verdict import verdict
from hmx.mapping.spec import TargetScaler
from hmx.mapping.target import bounded
from hmx.mapping.train.importance import Importance
from hmx.pictures.mapping import draw_bands, draw_intervals, draw_residuals, draw_scatter
from hmx.scores import (
    SCORES,
    Difference,
    band_scores,
    interval_scores,
    paired_bootstrap,
    regression_scores,
)
from hmx.splits.report import FoldReport
from hmx.splits.site_folds import SiteFolds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Figures = dict[str, float]
Row = dict[str, Any]

ENSEMBLE = " ensemble"  # after the name of a forecaster with members: their mean
CARD, ROUNDS = "scorecard.json", "rounds.safetensors"
COLUMNS = ("split", "forecaster", "scale", "stratum", "metric", "value")
TOP = 0.9  # quantile above which samples are reported for themselves
_VERSION = 1


@dataclass(frozen=True, eq=False)
class MapScorecard:
    """Hold what is known of a mapper's skill, and say whether to use it.

    Parameters
    ----------
    splits : mapping of str to CrossValidated
        By name of the folds, such as ``"blocks of 20 km"``; the first is judged by.
    model : str, optional
        The forecaster that is judged. Default: the blend, or the ensemble of the first
        forecaster, or that itself.
    reference : str
        What it is compared with first.
    scale : str
        Of the truths, such as ``log1p(soc)``.
    scaler : TargetScaler
        What was done to the truths. If anything was, all is scored once more in native
        units.
    facts : mapping of str to JSON values
        What was scored: target, units, digests, options.
    report : FoldReport, optional
        How far each way of folding tests.
    importance : Importance, optional
        Of the covariates.

    Raises
    ------
    MissingVariable
        If model or reference is not among the forecasters.
    """

    splits: Mapping[str, CrossValidated]
    model: str = ""
    reference: str = "forest"
    scale: str = "transformed"
    scaler: TargetScaler = field(default_factory=TargetScaler)
    facts: Mapping[str, Any] = field(default_factory=dict)
    report: FoldReport | None = None
    importance: Importance | None = None

    def __post_init__(self) -> None:
        if not self.model:
            object.__setattr__(self, "model", self._judged())
        for name in (self.model, self.reference):
            if name not in self.forecasters:
                raise missing_variable(name, self.forecasters, where="the forecasters")

    def _judged(self) -> str:
        first = next(iter(self._first.estimates))
        names = (BLEND, first + ENSEMBLE, first)
        return next(name for name in names if name in self.forecasters)

    @property
    def main(self) -> str:
        """Name of the folds that are judged by."""
        return next(iter(self.splits))

    @property
    def _first(self) -> CrossValidated:
        return self.splits[self.main]

    @cached_property
    def forecasters(self) -> tuple[str, ...]:
        """Those with members first as the mean of their scores, then as their ensemble."""
        found = []
        for name, guess in self._first.estimates.items():
            found += [name, name + ENSEMBLE] if len(guess.members) > 1 else [name]
        return tuple(found)

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the prediction intervals, percent."""
        return tuple(dict.fromkeys(n for found in self._first.bounds.values() for n in found))

    def center(self, forecaster: str, split: str | None = None) -> Array:
        """Return held-out predictions, transformed units, (n,).

        Parameters
        ----------
        forecaster : str
            A name; of one with members, their mean.
        split : str, optional
            Default: the folds judged by.
        """
        played = self.splits[split or self.main]
        return played.estimates[forecaster.removesuffix(ENSEMBLE)].center

    def bounds(self, forecaster: str) -> Mapping[float, tuple[Array, Array]]:
        """Return prediction intervals by level, on the folds judged by.

        Parameters
        ----------
        forecaster : str
            A name.
        """
        return self._first.bounds.get(forecaster.removesuffix(ENSEMBLE), {})

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
            Which row; by default the model's, on the folds judged by, in transformed
            units, over all samples. Other strata are ``top`` (decile of the truth),
            ``top predicted`` and ``truth 0-25 %`` ....

        Returns
        -------
        float
            NaN if there is none.
        """
        key = (split or self.main, forecaster or self.model, scale or self.scale, stratum)
        return self.table.get(key, {}).get(metric, math.nan)

    @cached_property
    def table(self) -> Mapping[tuple[str, str, str, str], Figures]:
        """Every figure, by (split, forecaster, scale, stratum) and name."""
        table: dict[tuple[str, str, str, str], Figures] = {}
        for split, played in self.splits.items():
            for name in self.forecasters:
                for scale, turn in self._scales.items():
                    for stratum, found in self._figures(played, name, turn):
                        table[split, name, scale, stratum] = found
        return table

    @cached_property
    def _scales(self) -> dict[str, Callable[[Array], Array]]:
        scales: dict[str, Callable[[Array], Array]] = {self.scale: lambda values: values}
        if self.scaler.transform != "none":
            scales["native"] = partial(bounded, scaler=self.scaler, truth=self._first.truth)
        return scales

    def _figures(
        self, played: CrossValidated, name: str, turn: Callable[[Array], Array]
    ) -> Iterator[tuple[str, Figures]]:
        """Yield the strata of a forecaster with their figures."""
        base = name.removesuffix(ENSEMBLE)
        guess, truth = played.estimates[base], turn(played.truth)
        center = turn(guess.center)
        if name in played.estimates and len(guess.members) > 1:
            yield "all", _over_members(truth, [turn(member) for member in guess.members])
            return
        spans = {
            level: (turn(lower), turn(upper))
            for level, (lower, upper) in played.bounds.get(base, {}).items()
        }
        strata = {
            "all": np.ones(len(truth), bool),
            "top": truth >= np.quantile(truth, TOP),
            "top predicted": center >= np.quantile(center, TOP),
        }
        for stratum, rows in strata.items():
            found = regression_scores(truth[rows], center[rows])
            for level, (lower, upper) in spans.items():
                inside = interval_scores(truth[rows], lower[rows], upper[rows], level=level)
                found |= {f"{key}_{level:g}": value for key, value in inside.items()}
                if stratum == "all":
                    found |= _by_fold(played, (truth >= lower) & (truth <= upper), level)
            yield stratum, found
        for band in band_scores(truth, center):
            share = f"{100 * band['share_from']:g}-{100 * band['share_to']:g}"
            yield f"truth {share} %", band

    def difference(
        self, other: str, *, metric: str = "r2", split: str | None = None, seed: int = 0
    ) -> Difference:
        """Compare the model with another forecaster, drawing what folds were dealt of.

        Parameters
        ----------
        other : str
            Its name.
        metric : str
            One of :data:`hmx.scores.SCORES`; transformed units.
        split : str, optional
            Default: the folds judged by.
        seed : int
            Of the bootstrap.
        """
        played = self.splits[split or self.main]
        ours, theirs = (self.center(name, split) for name in (self.model, other))
        return paired_bootstrap(
            played.truth, ours, theirs, played.folds.group, metric=metric, seed=seed
        )

    @cached_property
    def differences(self) -> Mapping[tuple[str, str], Difference]:
        """The model's R2 less that of each other forecaster, by (split, other)."""
        return {
            (s, name): self.difference(name, split=s) for s in self.splits for name in self.rivals
        }

    @property
    def rivals(self) -> tuple[str, ...]:
        """All other forecasters than the model; an ensemble stands for its members."""
        base = self.model.removesuffix(ENSEMBLE)
        named = [name for name in self.forecasters if name.removesuffix(ENSEMBLE) != base]
        return tuple(name for name in named if name + ENSEMBLE not in named)

    def rows(self) -> list[Row]:
        """List every figure: split, forecaster, scale, stratum, metric, value."""
        return [
            dict(zip(COLUMNS, (*key, metric, value), strict=True))
            for key, found in self.table.items()
            for metric, value in found.items()
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values: the verdict, all figures, comparisons and folds."""
        scores = [
            dict(zip(COLUMNS[:4], key, strict=True)) | finite(found)
            for key, found in self.table.items()
        ]
        differences = [
            {"split": split, "other": other} | vars(found) | {"sure": found.sure}
            for (split, other), found in self.differences.items()
        ]
        return {
            "hmx_map_scorecard": _VERSION,
            "verdict": self.verdict,
            "model": self.model,
            "reference": self.reference,
            "scale": self.scale,
            "scaler": asdict(self.scaler),
            "facts": dict(self.facts),
            "folds": self.report.as_dict() if self.report else None,
            "scores": scores,
            "differences": differences,
            "importance": self.importance.as_dict() if self.importance else None,
            "rounds": describe(self.splits),
            "splits": {name: played.folds.as_dict() for name, played in self.splits.items()},
        }

    def save(self, folder: str) -> str:
        """Write the card to a folder, for people and for :meth:`load`.

        ``scorecard.json`` and ``.txt``, ``scores.csv``, ``predictions.csv``, the plots, and
        ``rounds.safetensors``: the estimates of every sample.

        Parameters
        ----------
        folder : str
            Directory or URL, made if need be; files of the same names are replaced.

        Returns
        -------
        str
            Path of the JSON file.
        """
        place = Folder(absolute(folder))
        place.write(CARD, b'{"hmx_map_scorecard": null}')  # known for ours if this dies
        place.write(ROUNDS, pack(self.splits))
        place.write("scores.csv", csv_of(COLUMNS, (row.values() for row in self.rows())))
        place.write("predictions.csv", predictions_csv(self.splits))
        place.write("scorecard.txt", str(self).encode())
        draw: dict[str, Callable[[MapScorecard], Figure]] = {"scatter.png": draw_scatter}
        draw |= {"residuals.png": draw_residuals, "bands.png": draw_bands}
        draw |= {"intervals.png": draw_intervals} if self._first.bounds else {}
        for name, figure in draw.items():
            picture = io.BytesIO()
            figure(self).savefig(picture, format="png", dpi=150)
            place.write(name, picture.getvalue())
        text = as_json(self.as_dict(), indent=1, default=str)
        place.write(CARD, text.encode())
        return f"{folder.rstrip('/')}/{CARD}"

    @classmethod
    def load(cls, folder: str) -> MapScorecard:
        """Read the card that :meth:`save` has written.

        Parameters
        ----------
        folder : str
            Directory or URL.

        Raises
        ------
        SourceError
            If there is none, or its parts do not belong together.
        """
        place = Folder(absolute(folder))
        try:
            told = json.loads(part_of(place, CARD))
            if told["hmx_map_scorecard"] != _VERSION:
                raise ValueError("not finished, or of another version of hmx")
            folds = {name: SiteFolds.from_dict(saved) for name, saved in told["splits"].items()}
            return cls(
                unpack(part_of(place, ROUNDS), told["rounds"], folds),
                model=told["model"],
                reference=told["reference"],
                scale=told["scale"],
                scaler=TargetScaler(**told["scaler"]),
                facts=told["facts"],
                report=told["folds"] and FoldReport.from_dict(told["folds"]),
                importance=told["importance"] and Importance(**told["importance"]),
            )
        except (KeyError, TypeError, ValueError, SafetensorError, BadArgument) as error:
            raise SourceError(
                f"{folder} holds no scorecard of a map that can be read ({error}). Pass the folder "
                "that ds.soc.evaluate(out=...) or hmx evaluate wrote, or score again."
            ) from None

    def __str__(self) -> str:
        """Write the verdict and the tables for a terminal."""
        return as_text(self)


def _over_members(truth: Array, members: list[Array]) -> Figures:
    """Take the mean of each score over members, and its standard deviation (n - 1)."""
    found = [regression_scores(truth, member) for member in members]
    mean = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    sd = {f"{name}_sd": float(np.std([one[name] for one in found], ddof=1)) for name in SCORES}
    return mean | sd | {"members": float(len(members))}


def _by_fold(played: CrossValidated, inside: NDArray[np.bool_], level: float) -> Figures:
    """Find the folds with the least and the largest share inside."""
    fold = played.folds.fold
    shares = np.bincount(fold, inside) / np.bincount(fold)
    ends = {"least": float(shares.min()), "most": float(shares.max())}
    return {f"picp_{level:g}_{which}_fold": share for which, share in ends.items()}
