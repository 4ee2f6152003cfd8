"""Selection: the covariates that were chosen, every set that was tried, and what to type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from textwrap import fill
from typing import Any

import numpy as np

from hmx.files.durable import Folder
from hmx.files.jsontext import as_json
from hmx.files.paths import absolute
from hmx.files.shown import Shown, facts_html, grid_html
from hmx.mapping.select.forward import Array, Names, Trial, choose
from hmx.mapping.train.importance import Importance
from hmx.pictures.mapping import draw_selection
from hmx.pictures.style import Figure
from hmx.scores.card import TEXT_WIDTH, csv_of, text_table

FILE = "selection.json"
FORMAT = "hmx_selection"
_COLUMNS = (
    "covariates", "count", "r2", "rmse", "r2_less_best", "standard_error", "on_path", "chosen",
)  # fmt: skip


@dataclass(frozen=True)
class Nested:
    """A selection that was repeated without each fold, and scored on that fold."""

    errors: tuple[float, ...]  # mean squared error in each fold, transformed units
    chosen: tuple[Names, ...]  # covariates that each fold's own selection chose


@dataclass(frozen=True, eq=False, repr=False)
class Selection(Shown):
    """The covariates that a forward selection chose, and every set that it tried.

    ``print`` it; ``keywords`` are those of ``ds.soc.train``, ``lines`` those of a catalog. No
    model changes by itself.

    Parameters
    ----------
    target : str
        Name of the sampled quantity.
    scale : str
        Of errors and R2, such as ``log1p(soc)``.
    learner : str
        What was fitted to each set.
    folds : str
        How samples were held out, in words.
    sizes : ndarray
        Samples in each fold.
    variance : float
        Of the truths, transformed units.
    dynamic, static : tuple of str
        All covariates, with and without time.
    path : tuple of Trial
        The best set of each size, from the smallest.
    everything : Trial
        All covariates.
    tried : tuple of Trial
        Every set, in the order of the fits.
    rule : str
        How ``chosen`` was taken from ``path`` and ``everything``.
    importance : Importance
        Loss of R2 of a forest on all covariates when one is permuted on the held-out folds.
    nested : Nested, optional
        The score of the choice on folds that it has not seen.
    depth : bool
        Whether the depth of a sample was an input of every set.
    """

    target: str
    scale: str
    learner: str
    folds: str
    sizes: Array
    variance: float
    dynamic: Names
    static: Names
    path: tuple[Trial, ...]
    everything: Trial
    tried: tuple[Trial, ...]
    rule: str
    importance: Importance
    nested: Nested | None = None
    depth: bool = False

    @cached_property
    def chosen(self) -> Trial:
        """The set to use."""
        return choose([*self.path, self.everything], self.sizes, self.rule)

    @cached_property
    def best(self) -> Trial:
        """The set with the smallest error."""
        return choose([*self.path, self.everything], self.sizes, "best")

    @property
    def covariates(self) -> Names:
        """The chosen covariates, in the order of the cube."""
        return tuple(n for n in (*self.dynamic, *self.static) if n in self.chosen.covariates)

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is left out."""
        return len(self.covariates) == len(self.everything.covariates)

    @property
    def keywords(self) -> dict[str, list[str]]:
        """Keywords of ``ds.soc.train``, ``evaluate`` and ``plan``: the chosen covariates."""
        kinds = {"dynamic": self.dynamic, "static": self.static}
        return {kind: [n for n in of if n in self.covariates] for kind, of in kinds.items()}

    @property
    def lines(self) -> str:
        """Lines of a catalog: the chosen covariates."""
        return f"train:\n  covariates: [{', '.join(self.covariates)}]"

    def r2(self, trial: Trial) -> float:
        """Return the R2 of a set over all samples, transformed units."""
        return 1 - trial.error(self.sizes) / self.variance

    def rmse(self, trial: Trial) -> float:
        """Return the RMSE of a set over all samples, transformed units."""
        return math.sqrt(trial.error(self.sizes))

    def loss(self, trial: Trial, other: Trial | None = None) -> tuple[float, float]:
        """Return the R2 that a set lacks to another, by default the best, and its standard error.

        The standard error is that of the differences by fold.
        """
        excess, error = trial.excess(other or self.best, self.sizes)
        return excess / self.variance, error / self.variance

    @property
    def honest(self) -> Trial | None:
        """The errors of the nested selection, if there was one."""
        return None if self.nested is None else Trial((), self.nested.errors)

    @property
    def verdict(self) -> str:
        """Which covariates to use."""
        every, chosen = len(self.everything.covariates), self.chosen
        r2, r2_all = self.r2(chosen), self.r2(self.everything)
        if r2 <= 0:
            return (
                f"No set of covariates predicts {self.target} better than its mean on {self.folds} "
                f"(R2 {self.r2(self.best):.3f})."
            )
        if self.keeps_all:
            by = "by more than one standard error" if self.rule == "one_se" else "there"
            return (
                f"Keep all {every} covariates: R2 {r2:.3f} on {self.folds}, and every smaller set "
                f"of the path is worse {by}."
            )
        less, error = self.loss(chosen, self.everything)
        words = (
            f"{len(chosen.covariates)} of {every} covariates: {_listed(self.covariates)}. R2 "
            f"{r2:.3f} on {self.folds}, all {every} have {r2_all:.3f} (difference {-less:+.3f} ± "
            f"{error:.3f})."
        )
        if self.honest is not None:
            lost, sure = self.loss(self.honest, self.everything)
            if lost > sure:
                words += (
                    " On folds that the choice has not seen it loses more than one standard error "
                    "to all covariates: keep them all."
                )
        return words

    @property
    def caution(self) -> str:
        """How far the score of the chosen set can be believed."""
        if self.honest is None:
            return (
                f"The folds that scored {len(self.tried)} sets also chose among them, so the R2 of "
                "the chosen set is optimistic, and hmx evaluate on the same folds repeats that. "
                "nested=True (--nested) selects anew without each fold and scores the choice on it."
            )
        lost, error = self.loss(self.honest, self.everything)
        return (
            f"Nested: selected anew without each fold, R2 on it is {self.r2(self.honest):.3f}, "
            f"{-lost:+.3f} ± {error:.3f} beside all covariates. This is the score to report."
        )

    def shown(self) -> dict[str, str]:
        """Return facts for a reader."""
        facts = {
            "covariates": f"{len(self.covariates)} of {len(self.everything.covariates)}: "
            f"{', '.join(self.covariates)}",
            "R2": f"{self.r2(self.chosen):.3f} (all: {self.r2(self.everything):.3f})",
            "sets tried": f"{len(self.tried)} by {self.learner}, {self.folds}",
        }
        if self.honest is not None:
            facts["nested R2"] = f"{self.r2(self.honest):.3f}"
        return facts

    def _repr_html_(self) -> str:
        head, rows = self._path_rows()
        return facts_html(type(self).__name__, self.shown(), more=grid_html(head, rows))

    def __str__(self) -> str:
        head, rows = self._path_rows()
        title = (
            f"Covariates of {self.scale} by forward selection, {self.learner} on {self.folds}, "
            f"{int(self.sizes.sum()):,} samples, {len(self.tried)} sets"
            + (", each with depth" if self.depth else "")
        )
        found = self.importance
        losses = [[n, f"{found.mean[n]:.3f} ± {found.sd[n]:.3f}"] for n in found.bands]
        about = "Importance: loss of R2 of a forest on all when one is permuted, ± sd by fold"
        blocks = [text_table(title, head, rows), text_table(about, ["", "loss"], losses)]
        if self.nested is not None:
            counts = [[n, f"{self._times(n)} of {len(self.sizes)}"] for n in self._names()]
            chose = "Nested: folds whose own selection chose it"
            blocks.append(text_table(chose, ["", "folds"], counts))
        blocks.append([fill(f"{self.verdict} {self.caution}", TEXT_WIDTH)])
        if not self.keeps_all and self.r2(self.chosen) > 0:
            blocks.append(["In the catalog:", "", *self.lines.splitlines()])
        return "\n\n".join("\n".join(lines) for lines in blocks)

    def plot(self) -> Figure:
        """Draw R2 by size of the set, and the importance of all covariates.

        Returns
        -------
        Figure
            Of matplotlib.
        """
        chain = [self.path[0].covariates, *(t.covariates[-1:] for t in self.path[1:])]
        return draw_selection(
            [(len(t.covariates), self.r2(t)) for t in self.tried],
            [(len(t.covariates), " + ".join(names), self.r2(t), self.loss(t)[1])
             for names, t in zip(chain, self.path, strict=True)],
            everything=self.r2(self.everything),
            chosen=(len(self.chosen.covariates), self.r2(self.chosen)),
            importance=[(n, self.importance.mean[n], self.importance.sd[n])
                        for n in self.importance.bands],
            title=f"Covariates of {self.scale}, {self.learner} on {self.folds}",
        )  # fmt: skip

    def rows(self) -> list[list[Any]]:
        """List every set that was tried, with the columns of ``selection.csv``."""
        path = {frozenset(trial.covariates) for trial in self.path}
        return [
            [
                " + ".join(trial.covariates), len(trial.covariates), self.r2(trial),
                self.rmse(trial), *self.loss(trial), frozenset(trial.covariates) in path,
                set(trial.covariates) == set(self.covariates),
            ]
            for trial in self.tried
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return what was found, in JSON values."""
        return {
            "target": self.target,
            "scale": self.scale,
            "learner": self.learner,
            "folds": self.folds,
            "rule": self.rule,
            "covariates": list(self.covariates),
            "r2": self.r2(self.chosen),
            "r2_all": self.r2(self.everything),
            "r2_nested": None if self.honest is None else self.r2(self.honest),
            "nested": [list(names) for names in self.nested.chosen] if self.nested else None,
            "importance": self.importance.as_dict(),
            "verdict": self.verdict,
            "caution": self.caution,
        }

    def save(self, folder: str, **facts: Any) -> str:
        """Write JSON, tables, text and picture to a folder or URL.

        Parameters
        ----------
        folder : str
            Directory or URL.
        **facts
            Further JSON values, such as the fits that a later run takes over.

        Returns
        -------
        str
            Path of ``selection.json``.
        """
        target, found = Folder(absolute(folder)), self.importance
        target.write("selection.csv", csv_of(_COLUMNS, self.rows()))
        losses = [[name, found.mean[name], found.sd[name]] for name in found.bands]
        target.write("importance.csv", csv_of(("covariate", "loss_of_r2", "sd"), losses))
        target.write("selection.txt", f"{self}\n".encode())
        target.write("selection.png", self.plot()._repr_png_())
        content = {FORMAT: 1, **self.as_dict(), **facts}
        target.write(FILE, as_json(content, indent=1, default=str).encode())
        return f"{folder.rstrip('/')}/{FILE}"

    def _names(self) -> list[str]:
        return sorted(self.everything.covariates, key=lambda name: -self._times(name))

    def _times(self, name: str) -> int:
        return sum(name in names for names in self.nested.chosen) if self.nested else 0

    def _path_rows(self) -> tuple[list[str], list[list[str]]]:
        """Return head and rows of the path, from the smallest set to all covariates."""
        rows, before = [], set[str]()
        for trial in self.path:
            new = [name for name in trial.covariates if name not in before]
            before |= {*trial.covariates}
            rows.append([f"+ {' + '.join(new)}" if len(new) < len(before) else " + ".join(new)])
            rows[-1] += self._figures(trial)
        if len(before) < len(self.everything.covariates):
            every = f"all {len(self.everything.covariates)}"
            rows.append([every, *self._figures(self.everything)])
        return ["covariates", "number", "R2", "RMSE", "R2 less than the best", ""], rows

    def _figures(self, trial: Trial) -> list[str]:
        less, error = self.loss(trial)
        apart = f"{less:.3f} ± {error:.3f}" if trial is not self.best else "best"
        mark = "chosen" if trial is self.chosen else ""
        count = str(len(trial.covariates))
        return [count, f"{self.r2(trial):.3f}", f"{self.rmse(trial):.4g}", apart, mark]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def variance_of(truth: Array) -> float:
    """Return the variance of the truths, or 1 if they are equal."""
    return float(np.var(truth)) or 1.0
