"""``hmx evaluate``: what a model is worth on truth it has not seen."""

from __future__ import annotations

import click

from hmx.cli.shared import Call, Command, catalog_command


@click.command(cls=Command)
@catalog_command
@click.option("--model", metavar="PATH", help="Score this model on what it holds out.")
@click.option("--h", type=int, metavar="N", help="Steps to score.")
@click.option(
    "--origin", "origins", multiple=True, metavar="TIME", help="Forecast from here; repeatable."
)
@click.option("--folds", type=int, metavar="K", help="Refit and score on K folds of blocks.")
@click.option("--level", type=float, multiple=True, metavar="%", help="Interval; repeatable.")
@click.option("--output", metavar="DIR", help="Folder of the scorecard.")
@click.option("--overwrite", is_flag=True, help="Score again even if the scorecard is current.")
def evaluate(
    call: Call, model: str | None, output: str | None, overwrite: bool, **wanted: object
) -> None:
    """Score the model of CATALOG against persistence and other baselines; ingest if need be.

    Fits it anew at each origin, without the steps after it, and compares what it
    says with what came; with --model, scores a model that is there on the steps
    and blocks that were kept from it. Ends with a sentence on whether to use it.
    """
    from hmx.cli.shared import here
    from hmx.evaluate.scoretext import as_text
    from hmx.workflow import evaluate as score  # loads xarray's and GDAL's machinery

    given = {f"evaluate__{name}": value for name, value in wanted.items()}
    catalog = call.load(evaluate__output=None if output is None else here(output), **given)
    path, card = score(catalog, call.talk, model=model, overwrite=overwrite)
    if not call.quiet:
        click.echo(f"{as_text(card, verdict=False)}\n\n{card.verdict}\n")
    click.echo(path)
