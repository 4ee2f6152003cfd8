"""The guide page of points is true: its code runs, and it names every option."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmx.catalog import MapCatalog
from hmx.cube.declarations import has_classes
from hmx.points.options import PointsOptions
from tests.conftest import ROOT

PAGE = (ROOT / "hmx" / "guide" / "points.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    first, second, third, fourth = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(first, "points.md", "exec"), {})
    assert "500 rows of points.csv: " in capsys.readouterr().out
    found: dict[str, Any] = {}
    exec(compile(second, "points.md", "exec"), found)
    assert has_classes(found["ds"]["cover"].attrs)
    exec(compile(third, "points.md", "exec"), found)
    np.testing.assert_allclose(found["table"]["stock"], [70.2, 50.4])
    exec(compile(fourth, "points.md", "exec"), found)
    np.testing.assert_allclose(found["stock"], 70.2)


def test_the_catalog_of_stocks_is_one(tmp_path: Path) -> None:
    (section,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    cube = "hmx: 1\ncube: {path: c.zarr, sources: {dem: {path: dem.tif}}}\n"
    (tmp_path / "soils.yaml").write_text(cube + section)
    catalog = MapCatalog.load(tmp_path / "soils.yaml")
    assert len(catalog.map.depths) == len(catalog.stock.bulk_density)
    assert catalog.stock.bulk_density[0].path == str(tmp_path / "bdod_0-5cm.tif")
    assert catalog.stock_path == str(tmp_path / "c_stock.zarr")


def test_the_page_names_every_option() -> None:
    table = PAGE.split("## Options")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (.*?) \|", table, re.M))))
    assert named == set(PointsOptions.model_fields)
