"""``hmx evaluate``: score a model on truth that it has not seen."""

from __future__ import annotations

from typing import Any

import click

from hmx.cli import shared


@click.command(
    cls=shared.Command,
    examples=(
        "hmx evaluate catalogs/demo.yaml",
        "hmx evaluate catalogs/demo.yaml --h 2 --origin 2010",
    ),
)
@shared.catalog_command
@shared.worker_flags
@click.option("--model", metavar="PATH", help="Score this model on what it holds out.")
@click.option("--h", type=int, metavar="N", help="Steps to score.")
@click.option(
    "--origin", "origins", multiple=True, metavar="TIME", help="Forecast from here; repeatable."
)
@click.option("--folds", type=int, metavar="K", help="Refit and score on K folds of blocks.")
@shared.level_flag
@click.option("--output", metavar="DIR", help="Folder of the scorecard.")
@click.option("--overwrite", is_flag=True, help="Score again even if the scorecard is current.")
def evaluate(
    call: shared.CommandCall, model: str | None, output: str | None, overwrite: bool, **wanted: Any
) -> None:
    """Score the model of CATALOG against persistence and other baselines; ingest if need be.

    Fits it anew at each origin, without the steps after it, and compares what it
    forecasts with the maps that followed; with --model, scores an existing model on the steps
    and blocks that were kept from it. Ends with a sentence on whether to use it.

    With points in CATALOG, scores its mapper and a Gaussian process, a forest, boosting, a
    linear regression and the mean, on samples held out in folds; --h, --origin, --folds and
    --model do not apply.
    """
    if call.maps:
        _of_map(call, output, overwrite=overwrite, model=model, **wanted)
        return
    # Imported late: xarray, torch and GDAL take seconds, and --help must not wait for them.
    from hmx.forecast.backtest.text import as_text
    from hmx.workflow import evaluate as score

    wanted["origins"] = tuple(shared.moment(str(origin)) for origin in wanted["origins"])
    given = {f"evaluate__{name}": value for name, value in wanted.items()}
    catalog = call.load(evaluate__output=shared.here(output), **given)
    path, card = score(catalog, call.progress, model=model, overwrite=overwrite)
    if not call.quiet:
        sentences = [*reversed(card.sentences)]  # the verdict last: a terminal shows the end
        shared.out("\n\n".join([as_text(card, verdict=False), *sentences]) + "\n")
    call.then(report="with this scorecard")
    shared.out(path)


def _of_map(
    call: shared.CommandCall, output: str | None, *, overwrite: bool, **wanted: object
) -> None:
    """Score the mapper of a catalog with points."""
    from hmx.errors import BadArgument
    from hmx.workflow import evaluate

    # Of these flags a map has only --level. The others are refused: a scorecard that ignored
    # them would not be that of the command the user typed.
    level = wanted.pop("level")
    wanted |= {"workers": call.workers, "scheduler": call.scheduler}
    for name, value in wanted.items():
        if value not in (None, ()):
            flag = "--" + name.removesuffix("s") if name == "origins" else f"--{name}"
            raise BadArgument(
                f"{flag} belongs to forecasts, and {call.catalog} has points, so it maps. Leave "
                "it out; folds of samples are set by --set train.split.folds=10."
            )
    catalog = call.load_map(evaluate__output=shared.here(output), evaluate__level=level)
    path, card = evaluate(catalog, call.progress, overwrite=overwrite)
    if not call.quiet:
        shared.out(f"{card}\n")
    call.then(report="with this scorecard")
    shared.out(path)
