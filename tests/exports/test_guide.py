"""The page on other programs is true: its examples run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import xarray as xr
import yaml
from click.testing import CliRunner

import hmx
from hmx.catalog.sections import ExportSection
from hmx.cli.main import hmx as command
from hmx.forecast.api import forecast_to_zarr
from tests.conftest import ROOT

PAGE = (ROOT / "hmx" / "guide" / "gis.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    return PAGE.split(f"```{language}\n")[1].split("```")[0]


def test_its_examples_run(
    cube: xr.Dataset, trained: hmx.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cube.to_zarr("build/demo.zarr", zarr_format=3, consolidated=False)
    store = tmp_path / "build" / "demo_forecast.zarr"
    forecast_to_zarr(hmx.open_cube("build/demo.zarr"), store, h=4, model=trained, level=80)
    years = ("2030", "2025"), ("2040", "2035")  # of the toy cube
    code = block("python")
    for page, toy in years:
        code = code.replace(page, toy)
    exec(compile(code, "gis.md", "exec"), {})
    made = {p.name for p in (tmp_path / "build" / "maps").glob("*.tif")}
    assert made == {f"hm{part}_{year}.tif" for part in ("", "_change", "_width_80")
                    for year in (2025, 2035)}  # fmt: skip
    assert xr.open_dataset("build/demo_forecast.nc").sizes["time"] == 4
    west, _, _, north = cube.hm.grid.bounds
    box = f"{west},{north - 6000},{west + 6000},{north}"
    for line in block("bash").splitlines():
        words = shlex.split(line, comments=True)[1:]
        words = [
            str(store) if w.startswith("catalogs/") else w.replace("2040", "2035") for w in words
        ]
        words = [box if w.startswith("450000,") else w for w in words]
        result = CliRunner().invoke(command, words)
        assert result.exit_code == 0, result.output
    section = yaml.safe_load(block("yaml"))["export"]
    assert ExportSection(**section).variable == ("hm", "hm_change")
