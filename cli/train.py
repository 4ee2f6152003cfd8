"""``hmx train``: a cube to a model."""

from __future__ import annotations

import click

from hmx.cli.shared import Command, CommandCall, catalog_command, device_flag, out


@click.command(
    cls=Command,
    examples=(
        "hmx train catalogs/demo.yaml",
        "hmx train catalogs/demo.yaml --set train.epochs=5 --device cpu",
    ),
)
@catalog_command
@device_flag
@click.option("--overwrite", is_flag=True, help="Train again even if the model is current.")
def train(call: CommandCall, overwrite: bool) -> None:
    """Fit the model of CATALOG; ingest first if there is no cube.

    A forecaster that was killed goes on from its last epoch. With points in CATALOG, the
    model is a mapper.

    The option names of the study that the mapper comes from work too, with _ or -: loss_type,
    loss_alpha, target_transform, num_runs, use_validation, target_val_ratio and
    distance_threshold of train, window_size and time_before of model (hmx guide maps).
    """
    if call.maps:
        from hmx.workflow import ensure_model

        out(ensure_model(call.load_map(), call.progress, overwrite=overwrite).path)
        return
    from hmx.workflow import ensure_model  # loads xarray's and GDAL's machinery

    out(ensure_model(call.load(), call.progress, overwrite=overwrite).path)
