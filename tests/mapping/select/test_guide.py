"""The guide page on inputs is true: its selection runs, and its line is one of a catalog."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hmx.catalog.sections import MapTrainSection
from tests.conftest import ROOT
from tests.make.mapworlds import make_covariates
from tests.make.soilworlds import UTM, make_points

PAGE = (ROOT / "hmx" / "guide" / "which-inputs.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ds = make_covariates((32, 36), years=6, pixel=1000.0)
    ds.to_zarr("build/demo_soc.zarr", consolidated=False, zarr_format=3)
    Path("data/demo_soc").mkdir(parents=True)
    points = make_points(ds).assign(year=2015)
    points.to_csv("data/demo_soc/points.csv", index=False)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(code.replace("EPSG:4326", UTM), "which-inputs.md", "exec"), found)
    own = found["model"].spec
    assert own.dynamic + own.static == found["found"].covariates
    assert Path("build/selection.png").stat().st_size > 5000


def test_the_line_of_the_page_is_one_of_a_catalog() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    section = MapTrainSection(**yaml.safe_load(text)["train"])
    assert section.covariates == ("lst", "precip", "elevation")
