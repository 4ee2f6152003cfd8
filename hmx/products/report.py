"""Report: a forecast or a map as one HTML file, for anybody with a browser."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import xarray as xr

from hmx.cube.cube import Cubelike
from hmx.engine.options import DaskSection
from hmx.engine.order import Run
from hmx.engine.recall import Recalled, recall
from hmx.errors import BadArgument, SourceError
from hmx.files.durable import Folder
from hmx.files.paths import absolute, is_url
from hmx.forecast.backtest.scorecard import Scorecard
from hmx.forecast.bundle import Bundle
from hmx.forecast.order import ForecastRun
from hmx.independent import independent
from hmx.ingest.stamps import stamp
from hmx.mapping.evaluate.scorecard import MapScorecard
from hmx.mapping.order import MapRun
from hmx.mapping.result import require_one_depth
from hmx.pictures.zones import plot_zones
from hmx.products.describe import describe_held_out, describe_skill
from hmx.products.reportfacts import Subject, facts_of, headlines
from hmx.products.sampled import past_steps, sample
from hmx.products.zones import add_up_zones
from hmx.progress import Progress
from hmx.provenance import code_version, fingerprint, recipe_of
from hmx.report.layers import Packed, fit
from hmx.report.page import Page, Section, TextTable, require_ours
from hmx.scores.card import CARD, Card
from hmx.zones.frames import require_table, target_of
from hmx.zones.options import Zoning
from hmx.zones.report import parts_of, remarks

BUDGET = 25.0  # MB of a report
_MB = 1_000_000

_DIGITS = 12  # of digests in scorecards


@independent
def report(
    obj: Cubelike,
    path: str | Path = "report.html",
    *,
    zones: Any = None,
    card: Card | str | Path | None = None,
    budget: float = BUDGET,
    title: str | None = None,
    overwrite: bool = False,
    progress: Progress = Progress(),
    **zoning: Unpack[Zoning],
) -> Path:
    """Write a forecast or a map as one HTML file that a browser opens without a network.

    The file has every percentile of every pixel: maps that pan and zoom, with sliders for time,
    percentile and threshold; a click draws the history and the fan of a pixel; two layers or
    times can be swiped. Below the maps are zones, the scorecard and the provenance.

    Parameters
    ----------
    obj : Dataset
        A forecast or a map, as it was made or as it was opened from its store. Its model
        computes the percentiles that the store does not have.
    path : str or Path
        The file to write.
    zones : path, GeoDataFrame, GeoJSON, array or Dataset, optional
        Adds totals of zones: what ``zonal`` takes, or the table that it returned.
    card : Scorecard, MapScorecard or path, optional
        Adds a scorecard: what ``backtest`` or ``evaluate`` returned, or its folder. One of another
        cube, or of models with other settings, is named as such in its first sentence.
    budget : float
        Size of the file, MB, at most. A large raster gives up percentiles first (29, 15, 9) and
        then pixels (every second row and column, ...); zoomed in, the last map and the last lead
        have more of them. The page states what it left out. Memory does not grow with the raster.
    title : str, optional
        Heading of the page.
    overwrite : bool
        Replace a file that is not a report. Reports are always replaced.
    progress : Progress
        Where progress goes. Default: standard error from ``fc.hm``, else nowhere.
    **zoning
        Fields of :class:`hmx.zones.options.ZonalOptions`, if ``zones`` are not a table:
        ``above=[0.1]``, ``level=[50, 95]``, ``by="country"``, ``id="name"`` ...

    Returns
    -------
    Path
        The file.

    Raises
    ------
    BadArgument
        If the object is not a result, its model and cube cannot be found, its values were edited,
        or the scorecard is of another variable.
    OutputExists
        If another file has the name.

    Examples
    --------
    >>> fc.hm.report("report.html", zones="parks.gpkg")  # doctest: +SKIP
    """
    if isinstance(obj, xr.DataArray):
        raise BadArgument(
            "a report shows intervals, and a DataArray has none. Forecast from a Dataset: "
            "fc = da.to_dataset(name='hm').hm.forecast(h=4, model=...); fc.hm.report()."
        )
    if zoning and (zones is None or _is_table(zones)):
        raise BadArgument(
            f"{next(iter(zoning))}= belongs to zones that are added up here. Pass zones= as a file "
            "or polygons, or leave it out."
        )
    target = require_ours(path, overwrite=overwrite)
    found = recall(obj)
    sections = []
    if zones is not None:
        table = zones if _is_table(zones) else add_up_zones(found, zones, zoning, progress)
        sections.append(zones_section(table))
    sections.append(score_section(found, card))
    return write_report(
        found, target, sections, budget=budget, title=title, overwrite=overwrite, progress=progress
    )


def write_report(
    found: Recalled,
    path: str | Path,
    sections: Sequence[Section],
    *,
    section: DaskSection | None = None,
    budget: float = BUDGET,
    title: str | None = None,
    state: str | None = None,
    overwrite: bool = False,
    progress: Progress = Progress(),
) -> Path:
    """Compute the maps of a result and write its report."""
    if not 1 <= budget <= 1000:
        raise BadArgument(f"budget={budget:g} is not between 1 and 1000 MB. Try budget=25.")
    run = found.run
    assert isinstance(run, ForecastRun | MapRun)
    if isinstance(run, MapRun):
        require_one_depth(run.request.depths, "a report")
    layers, fine = sample(found, section, progress)
    subject = Subject.of(run, past_steps(run))
    sections = [*sections, provenance_section(run)]
    # scripts, tables and pictures are written first, so that the maps get what is left
    rest = len(Page("", (), Packed(layers, layers.scale()), {}, sections).html().encode())
    progress.note("report: compressing maps")
    packed = fit(layers, int(budget * _MB) - rest, fine)
    facts = facts_of(packed, subject)
    notes = [f"Note: {line}." for line in run.notes()]
    lead = [*headlines(packed, subject), *notes]
    page = Page(title or subject.title, lead, packed, facts, sections, state)
    written = page.write(path, overwrite=overwrite)
    sampled = facts["sampled"][0].lower() + facts["sampled"][1:]
    progress.note(f"report: {written.stat().st_size / _MB:.1f} MB; {sampled}")
    return written


def _is_table(zones: Any) -> bool:
    return isinstance(zones, xr.Dataset)


def zones_section(table: xr.Dataset) -> Section:
    """Return fans and tables of zones."""
    require_table(table)
    target = target_of(table)
    tables = [TextTable(when, head, rows) for when, head, rows in parts_of(table, target)]
    fans = {"Fans of zones": lambda: plot_zones(table)} if table.sizes["time"] > 1 else {}
    title = str(table.attrs.get("title", "Zones")).capitalize()
    return Section("zones", title, (), tables, fans, notes=remarks(table))


def score_section(found: Recalled, card: Card | str | Path | None) -> Section:
    """Return a scorecard, or what the model records about its own skill."""
    run = found.run
    assert isinstance(run, ForecastRun | MapRun)
    if card is not None:
        card = card if isinstance(card, Card) else load_card(card)
        section, related = card.section(), belonging(card, run)
        sentences = (
            [related.text, *section.lead] if related.foreign else [*section.lead, related.text]
        )
        return replace(section, lead=sentences)
    if isinstance(run, ForecastRun):
        skill = describe_skill(run.bundle.training.get("validation", {}))
        command = "ds.hm.backtest(...) or hmx evaluate CATALOG"
    else:
        skill, command = describe_held_out(run.bundle), "ds.soc.evaluate(...) or hmx evaluate"
    lead = [
        "There is no scorecard in this report, so it does not state whether to use the model.",
        f"As trained: {skill}. Score it against baselines with {command}, and pass card=.",
    ]
    return Section("scorecard", "Scorecard", lead)


def report_state(
    found: Recalled, card: Card | None, zones: str | None, zonal: Mapping[str, Any], budget: float
) -> str | None:
    """Hash what decides a report; ``None`` if zones lie where changes cannot be seen."""
    if zones is not None and is_url(zones):
        return None
    return fingerprint({
        **found.run.facts(),
        "hmx": code_version(),
        "card": None if card is None else fingerprint(card.as_dict()),
        "zones": None if zones is None else [zones, list(stamp(zones))],
        "zonal": dict(zonal),
        "budget": budget,
    })  # fmt: skip


def has_card(folder: str | Path) -> bool:
    """Return True if a folder has a scorecard."""
    return Folder(absolute(folder)).read(CARD) is not None


def load_card(folder: str | Path) -> Card:
    """Read a scorecard of either job from its folder."""
    path = str(folder).rstrip("/")
    data = Folder(absolute(path)).read(CARD)
    if data is None:
        raise SourceError(
            f"there is no scorecard in {path} ({CARD} is missing). Make one: hmx evaluate CATALOG."
        )
    facts = json.loads(data)
    if Scorecard.FORMAT in facts:
        return Scorecard.from_dict(facts)
    return MapScorecard.load(path)


def provenance_section(run: ForecastRun | MapRun) -> Section:
    """Return how the result was made."""
    from hmx.cube.grid import crs_name

    grid = run.cube.grid.crop(run.window)
    width, height = grid.pixel_size_m
    facts: dict[str, object] = {
        "job": run.job,
        "result": run.summary(),
        "grid": f"{grid.shape[0]:,} rows x {grid.shape[1]:,} columns of {width:.0f} x "
        f"{height:.0f} m",
        "CRS": crs_name(grid.crs),
        "bounds": ", ".join(f"{edge:.10g}" for edge in grid.bounds),
    }
    kind = "network" if isinstance(run.bundle, Bundle) else "mapper"
    facts[kind] = getattr(run.bundle.spec.network, "arch", kind)
    facts |= {k: v for k, v in run.facts().items() if v not in (None, [], "")}
    return Section("provenance", "Provenance", facts=facts)


@dataclass(frozen=True)
class Belonging:
    """How a scorecard relates to a result: ``foreign`` if it scores something else."""

    foreign: bool
    text: str  # one sentence


def belonging(card: Card, run: Run[Any]) -> Belonging:
    """Compare a scorecard with a result; raise if it scores another job or another variable."""
    assert isinstance(run, ForecastRun | MapRun)
    facts, bundle = card.facts, run.bundle
    job = "forecast" if isinstance(card, Scorecard) else "map"
    if job != run.job:
        raise BadArgument(
            f"card= scores a {job}, and this is a {run.job}. Pass the scorecard of this {run.job}, "
            "or leave it out."
        )
    target = facts.get("target", bundle.spec.target)
    if target != bundle.spec.target:
        raise BadArgument(
            f"card= scores {target!r}, and this {run.job} is of {bundle.spec.target!r}. Pass a "
            "scorecard of the same variable, or leave it out."
        )
    cube, data = facts.get("cube"), run.facts().get("data")
    if None not in (cube, data) and cube != data:
        return Belonging(
            True,
            f"This scorecard is of another cube than this {run.job}, or of the cube before it "
            "changed.",
        )
    if bundle.digest[:_DIGITS] in str(facts.get("models", "")).split(", "):
        return Belonging(False, f"The scorecard is of the very model of this {run.job}.")
    scored, own = facts.get("recipe"), recipe_of(bundle.training)
    if scored is None or own is None:
        return Belonging(
            False,
            "The scorecard does not record how its models were made, so whether they are like "
            f"that of this {run.job} is not known.",
        )
    if scored != own:
        return Belonging(
            True, f"This scorecard is of models with other settings than that of this {run.job}."
        )
    held_out = "earlier maps" if job == "forecast" else "fewer samples"
    return Belonging(
        False,
        f"The scorecard is of models that were fitted as that of this {run.job}, to {held_out}.",
    )
