"""Laws of a training that is tracked online: what reaches the server of the tracker."""

from __future__ import annotations

import csv
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import wandb
import xarray as xr

from hmx.mapping.train.train import train
from tests.make.servers import KEY
from tests.make.soilworlds import make_points
from tests.make.uploads import Received, receiving
from tests.mapping.train.test_train import quick


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Received]:
    """A server that the tracker of this test logs in to."""
    wandb.teardown()
    with receiving() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        for name in ("CACHE_DIR", "DATA_DIR", "CONFIG_DIR"):
            monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "wandb" / name))
        yield server
        wandb.teardown()


def test_figures_of_epochs_pictures_runs_and_the_model_reach_the_server(
    land: xr.Dataset, received: Received, tmp_path: Path
) -> None:
    recipe = quick(runs=2, epochs=2, validation=0.3, blend=0)
    track = {"wandb": "online", "project": "soils"}
    made = train(land, make_points(land), replace(recipe, track=track), out=tmp_path / "soc.model")
    wandb.teardown()  # ends the service, which has sent all then
    assert [run["displayName"] for run in received.facts.values()] == ["seed-0", "seed-1"]
    first = next(iter(received.facts))
    log = list(csv.DictReader((tmp_path / "soc.model" / "training.csv").read_text().splitlines()))
    rows = [row for row in received.history[first] if "val_r2" in row]
    assert len(rows) == len(log) == 2
    for row, line in zip(rows, log, strict=True):
        for name in ("train_loss", "val_r2", "val_native_r2", "val_rmse", "val_native_rpiq"):
            assert row[name] == pytest.approx(float(line[name]))
    for name in ("scatter", "residuals"):
        (picture,) = (f for n, f in received.files.items() if n.startswith(f"media/images/{name}"))
        assert picture.startswith(b"\x89PNG")
    (table,) = (f for name, f in received.files.items() if name.startswith("media/table/runs"))
    assert [row[0] for row in json.loads(table)["data"]] == ["0", "1", "mean", "sd"]
    assert "soc.model" in received.artifacts
    assert (
        received.files["artifact/weights.safetensors"]
        == (made.path / "weights.safetensors").read_bytes()
    )
    sent = json.dumps(received.facts)
    assert socket.gethostname() not in [run.get("host") for run in received.facts.values()]
    assert str(tmp_path) not in sent
    assert not any("program" in run for run in received.facts.values())
