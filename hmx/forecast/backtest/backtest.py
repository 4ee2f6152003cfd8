"""Backtest: the skill of a model, or of a way to make one, on truth that it has not seen.

Check -> fit -> score -> report. Without a model, one is fitted anew at each origin (and fold) and
scored on later steps (of the blocks left out); a given model is scored on the steps and blocks
that it records as held out. The runner of forecast jobs scores the tiles, and their sums are
added in one order, so a scorecard does not depend on the workers.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from hmx.bundles.folder import DESCRIPTION, ensure_saved
from hmx.cube.cube import Cubelike
from hmx.cube.integrity.seal import unseal
from hmx.cube.store import clear_folder, sweep
from hmx.engine.options import DaskSection
from hmx.errors import BadArgument, NotEnoughData, OutputExists
from hmx.files.durable import Folder
from hmx.files.jsontext import as_json
from hmx.files.lock import building
from hmx.files.paths import absolute, is_url
from hmx.forecast.backtest.baselines.fitting import fit_baselines
from hmx.forecast.backtest.case import BacktestSetup, SavedBaselines, described, let_go
from hmx.forecast.backtest.judging import TileScores
from hmx.forecast.backtest.rounds import Round, lead_names, when
from hmx.forecast.backtest.scorecard import Scorecard
from hmx.forecast.backtest.scoring import (
    PreparedRound,
    RoundScores,
    held_out_from,
    how,
    later_of,
    score_round,
    score_zones,
    truth_of,
)
from hmx.forecast.backtest.skillmap import SkillMap, finish_maps, make_maps, remains
from hmx.forecast.beyond import describe_extrapolated
from hmx.forecast.bundle import Bundle, describe_means, fits_means
from hmx.forecast.options import Backtesting, BacktestOptions, split_fitting
from hmx.forecast.train.recipe import TrainSetup
from hmx.forecast.train.train import train
from hmx.forecast.window import ForecastRequest
from hmx.independent import independent
from hmx.progress import Progress
from hmx.provenance import code_version, fingerprint
from hmx.settings import parse

__all__ = ["backtest", "evaluate"]

CARD, MAPS, MARK = "scorecard.json", "skill.zarr", "backtest.json"
_ROLES = ("target", "static", "dynamic")


@independent
def backtest(
    obj: Cubelike,
    h: int = 3,
    *,
    model: Bundle | str | Path | None = None,
    origins: Sequence[int | str] | int | str | None = None,
    folds: int | None = None,
    level: Sequence[float] | float = (50, 80, 95),
    baselines: Sequence[str] | None = None,
    zones: Any = None,
    out: str | Path | None = None,
    workers: int | None = None,
    progress: Progress = Progress(),
    **options: Unpack[Backtesting],
) -> Scorecard:
    """Score a model, or a way to make one, on truth that it has not seen.

    Parameters
    ----------
    obj : Dataset or DataArray
        The cube.
    h : int
        Leads, in steps of the cube's cadence.
    model : Bundle or path, optional
        Scored on the steps and blocks that it records as held out, and refused if there
        are none. Default: a model is fitted anew at each origin, with ``options``.
    origins : label or sequence of labels, optional
        Steps to forecast from.
    folds : int, optional
        Fit this many times at each origin, and score the blocks left out.
    level : float or sequence of float
        Central intervals whose coverage is reported, percent.
    baselines : sequence of str, optional
        Names of :mod:`hmx.forecast.backtest.baselines`.
    zones : path, GeoJSON, GeoDataFrame or array, optional
        Parts of the map to score separately.
    out : str or Path, optional
        Folder for the scorecard, skill maps and refitted models. A backtest that was
        stopped is resumed there.
    workers : int, optional
        Worker processes; the cube is then a store.
    progress : Progress
        Where progress goes. Default: standard error from ``ds.hm``, else nowhere.
    **options
        ``target``, ``static``, ``dynamic`` and all options of ``train``; ``zone_draws``, from
        which intervals of zones are made and scored (100; 0 scores no zones).

    Returns
    -------
    Scorecard
        ``print`` it for the table; ``.verdict`` is one sentence on what to use.

    Raises
    ------
    BadArgument, CubeError, NotEnoughData
        If options and cube do not fit, or a model holds nothing out.
    OutputExists
        If ``out`` is something else.
    JobFailed
        If tiles failed.

    Examples
    --------
    >>> print(ds.hm.backtest(h=3, static=["elevation"], out="scores"))  # doctest: +SKIP
    """
    given = {"origins": origins, "folds": folds, "baselines": baselines}
    given["zone_draws"] = options.pop("zone_draws", None)
    chosen = {key: value for key, value in given.items() if value is not None}
    settings = parse(BacktestOptions, {"h": h, "level": level, **chosen})
    section = parse(DaskSection, {} if workers is None else {"workers": workers})
    judged = _judged(model, {"h": h, **options})
    return evaluate(obj, judged, settings, zones=zones, out=out, section=section, progress=progress)


def _judged(model: Bundle | str | Path | None, options: dict[str, Any]) -> Bundle | TrainSetup:
    """Load a model, or collect the options that make one."""
    if model is None:
        roles = {name: options.pop(name, None) for name in _ROLES}
        network, fit = split_fitting(options)
        return TrainSetup(**roles, network=network, fit=fit)
    if extra := sorted({*options} - {"h"}):
        raise BadArgument(
            f"{extra[0]}= decides how a model is trained, and model= is trained already. Leave out "
            f"{extra[0]}=, or model= to refit at each origin."
        )
    return model if isinstance(model, Bundle) else Bundle.load(model)


def evaluate(
    obj: Cubelike,
    model: Bundle | TrainSetup,
    options: BacktestOptions,
    *,
    zones: Any = None,
    out: str | Path | None = None,
    section: DaskSection | None = None,
    overwrite: bool = False,
    progress: Progress = Progress(),
) -> Scorecard:
    """Run a backtest whose options are parsed."""
    with _folder(out, progress) as folder:
        case = BacktestSetup(obj, model, options, folder, zones, section or DaskSection())
        try:
            return _Backtest(case, out is not None, progress).run(overwrite=overwrite)
        finally:
            if "source" in vars(case):
                let_go(case.source)


@contextmanager
def _folder(out: str | Path | None, progress: Progress) -> Iterator[str]:
    """Yield the folder of the results; without one asked for, a temporary one."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="hmx-backtest-") as folder:
            yield folder
        return
    path_or_url = absolute(out)
    if is_url(path_or_url):
        raise BadArgument(
            f"out={str(out)!r} is a URL, and a backtest keeps models and sums on the way, which "
            "it wants in a folder of this machine. Pass out='scores', and copy it afterwards."
        )
    path = Path(path_or_url)
    with building(path, progress):
        if not (path / MARK).is_file() and (path.is_file() or not Folder(path_or_url).is_bare()):
            raise OutputExists(
                f"{path} holds something that is not a scorecard, so it is left alone. Choose "
                "another folder: out='scores', or --output DIR."
            )
        yield path_or_url


@dataclass
class _Backtest:
    """One backtest, from its setup to a scorecard."""

    case: BacktestSetup
    kept: bool
    progress: Progress

    def run(self, *, overwrite: bool) -> Scorecard:
        """Reuse the parts that are current, compute the rest, and report."""
        case = self.case
        case.require()  # before hours of fitting
        if isinstance(case.model, Bundle) and (line := describe_extrapolated(case.model, case.h)):
            self.progress.note(f"evaluate: {line}")
        asked = case.asked()
        mark, folder = fingerprint(asked), Folder(case.folder)
        if not overwrite and (card := _finished(folder, mark)):
            self.progress.note(f"evaluate: {case.folder} exists and is current")
            return card
        folder.sweep()
        if overwrite:
            clear_folder(Path(case.folder), but=MARK)  # a folder without it is somebody else's
        folder.write(MARK, as_json({"mark": mark, "asked": asked}, indent=1).encode())
        whole = not self.kept or self._open_maps(asked)
        ready = [self._ready(round_, mark, reuse=whole) for round_ in case.rounds]
        if not any(work.judging.leads for work in ready):
            raise NotEnoughData(
                f"none of the {case.h} leads has a truth that is held out, from "
                f"{', '.join(r.when for r in case.rounds)}. Name earlier origins, or add maps."
            )
        scores = self._score([work for work in ready if work.judging.leads], folder)
        card = Scorecard(
            {label: found.tally for label, found in scores.items()},
            self._facts(ready, mark),
            leads=tuple(range(1, case.h + 1)),
            names=lead_names(case.cube.cadence, case.h),
            zones={label: found.zones for label, found in scores.items() if found.zones.cells},
        )
        if self.kept:
            finish_maps(self._maps)
            card.save(case.folder)  # last: where it is, all is
        return card

    @property
    def _maps(self) -> str:
        return f"{self.case.folder}/{MAPS}"

    def _open_maps(self, asked: dict[str, Any]) -> bool:
        """Lay out the skill maps unless they exist; return True if they did."""
        case = self.case
        if remains(self._maps, asked):
            unseal(self._maps)  # a seal would be broken by the tiles that follow
            return True
        make_maps(self._maps, case.cube, self._origins(), h=case.h, facts=asked, chunk=case.chunk())
        return False

    def _origins(self) -> list[int]:
        return sorted({round_.origin for round_ in self.case.rounds})

    def _ready(self, round_: Round, mark: str, *, reuse: bool) -> PreparedRound:
        """Fit the model of a round, and its baselines unless the round is scored already."""
        case, bundle = self.case, ensure_saved(self._model(round_))
        unseen_truth = case.unseen_truth or held_out_from(bundle, round_)
        leads = unseen_truth.leads(round_.origin, case.cube.data.sizes["time"], case.h)
        key = fingerprint([mark, bundle.digest, round_.label, list(leads)])
        work = TileScores(
            source=case.source,
            run=key,
            request=self._request(bundle),
            origin=round_.origin,
            leads=leads,
            split=unseen_truth.split,
            unseen=unseen_truth.unseen,
            fitted=SavedBaselines("", ""),
            zones=case.marks,
            settings=case.settings,
            tiles=case.tiles,
            maps=SkillMap(self._maps, self._origins().index(round_.origin)) if self.kept else None,
        )
        done = _stored(Folder(case.folder), round_, key) if reuse else None
        if done is None and leads:
            work = replace(work, fitted=self._fitted(round_, work))
        return PreparedRound(round_, bundle, work, unseen_truth, key, done)

    def _model(self, round_: Round) -> Bundle:
        """Return the model of a round: the one that is judged, or one fitted for it."""
        case, recipe = self.case, self.case.model
        if isinstance(recipe, Bundle):
            return recipe
        fold, folds = round_.fold, case.options.folds
        wanted = fingerprint([described(recipe), case.data, round_.label, folds])
        path = Path(case.folder, "models", round_.slug)
        made = path.with_name(f"{path.name}.json")
        if (path / DESCRIPTION).is_file() and made.is_file() and wanted in made.read_text():
            self.progress.note(f"evaluate: {path} is fitted already")
            sweep(path)
            return Bundle.load(path)
        self.progress.note(f"evaluate: fitting a model {round_.label}")
        update: dict[str, Any] = {"until": when(case.cube, round_.origin)}
        if folds is not None:
            update |= {"fold": fold, "folds": folds, "final": False}
        fit = recipe.fit.model_copy(update=update)
        bundle = train(
            case.obj, replace(recipe, fit=fit, track=None), out=path, progress=self.progress
        )
        Folder(str(path.parent)).write(made.name, as_json({"made": wanted}).encode())
        return bundle

    def _request(self, bundle: Bundle) -> ForecastRequest:
        """Return the request that forecasts with a bundle."""
        case = self.case
        return ForecastRequest(
            bundle=str(bundle.path),
            digest=bundle.digest,
            rules=case.cube.rules,
            h=case.h,
            precision=case.options.precision,
            device=case.fit["device"],
        )

    def _fitted(self, round_: Round, work: TileScores) -> SavedBaselines:
        """Fit the baselines to the steps up to an origin, without the blocks held out."""
        case = self.case
        self.progress.note(f"evaluate: fitting {', '.join(case.baselines[1:]) or 'nothing'}")
        cube = case.source.open()  # without dask: windows are read one by one
        past = cube.data.isel(time=slice(0, round_.origin + 1))
        baselines = fit_baselines(
            replace(cube, data=past),
            case.baselines,
            work.leads,
            split=work.split,
            seed=int(case.fit["seed"] or 0),
            span=case.settings.data_range,
            may_hold=case.inventory.may_hold,
        )
        return SavedBaselines.save(baselines, Path(case.folder, "baselines", f"{round_.slug}.bin"))

    def _score(self, ready: Sequence[PreparedRound], folder: Folder) -> dict[str, RoundScores]:
        """Score what is not scored yet, round by round, on one set of workers."""
        from hmx.engine.pool.cluster import connect  # loads distributed

        scores = {work.round.label: work.done for work in ready if work.done is not None}
        todo = [work for work in ready if work.done is None]
        if todo:
            tiles = self.case.tiles.counts[0] * self.case.tiles.counts[1]
            section, device = self.case.section, self.case.fit["device"]
            with connect(section, tasks=tiles, device=device) as pool:
                if pool.dashboard:
                    self.progress.note(f"scores: Dask's dashboard is at {pool.dashboard}")
                for work in todo:
                    tally = score_round(pool, self.case, work.judging, work.round, self.progress)
                    zones = score_zones(pool, self.case, work, self.progress)
                    scores[work.round.label] = found = RoundScores(tally, zones)
                    text = as_json({"key": work.key, **found.as_dict()})
                    folder.write(_place(work.round), text.encode())
        return {work.round.label: scores[work.round.label] for work in ready}

    def _facts(self, ready: Sequence[PreparedRound], mark: str) -> dict[str, Any]:
        """Return what was scored, on which truth, as JSON values."""
        case, first = self.case, ready[0]
        target = case.cube.data[case.cube.target]
        splits = [work.unseen_truth.split or work.unseen_truth.unseen for work in ready]
        unchanged = [w.round.label for w in ready if not fits_means(w.bundle)]
        lines = {w.round.label: describe_means(w.bundle) for w in ready}
        means = {label: line for label, line in lines.items() if line}
        return {
            "target": case.cube.target,
            "units": target.attrs.get("units"),
            "cadence": str(case.cube.cadence),
            "scored": how(case, first),
            "truth": truth_of(ready, lead_names(case.cube.cadence, case.h)),
            "origins": ", ".join(dict.fromkeys(work.round.when for work in ready)),
            "folds": case.options.folds or 1,
            "baselines": ", ".join(case.baselines),
            "models": ", ".join(dict.fromkeys(work.bundle.digest[:12] for work in ready)),
            "means": "; ".join(f"{label}: {line}" for label, line in means.items()) or "free",
            "means held at the last map": ", ".join(unchanged) or "never",
            "extrapolated": later_of(ready) or "nothing",
            "splits": ", ".join(dict.fromkeys(s.digest for s in splits if s)) or "none",
            "data": case.data,
            **case.recognised_by(ready[0].bundle),
            "seed": case.fit["seed"],
            "hmx": code_version(),
            "fingerprint": mark,
        }


def _place(round_: Round) -> str:
    return f"rounds/{round_.slug}.json"


def _stored(folder: Folder, round_: Round, key: str) -> RoundScores | None:
    """Read the scores of a round that was finished earlier."""
    data = folder.read(_place(round_))
    found = json.loads(data) if data else {}
    return RoundScores.from_dict(found) if found.get("key") == key else None


def _finished(folder: Folder, mark: str) -> Scorecard | None:
    """Read the finished scorecard of the same settings, if there is one."""
    data = folder.read(CARD)
    found = json.loads(data) if data else {}
    if found.get("facts", {}).get("fingerprint") != mark:
        return None
    return Scorecard.from_dict(found)
