"""The guide's examples run: Python on a toy cube and its model, YAML as sources and sections."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest
import xarray as xr
import yaml

import hmx
from hmx.engine.options import DaskSection
from hmx.forecast.backtest.baselines.registry import _CLASSES
from hmx.ingest.options import Source
from hmx.ingest.sources import GROUP, _registered
from hmx.settings import parse
from tests.conftest import ROOT

GUIDE = ROOT / "hmx" / "guide"
PAGES = ("rasters", "judging", "extending")


def blocks(page: str, language: str) -> list[str]:
    text = (GUIDE / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(
    page: str, cube: xr.Dataset, trained: hmx.Bundle, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    cube.to_zarr("build/demo.zarr", consolidated=False, zarr_format=3)
    shutil.copytree(str(trained.path), "build/demo.model")
    Path("data").symlink_to(ROOT / "data")
    found: dict[str, object] = {}
    try:
        for code in blocks(page, "python"):
            exec(compile(code, f"{page}.md", "exec"), found)
    finally:
        _CLASSES.pop("halfway", None)
        _registered.pop(".grid", None)
    if page == "judging":
        assert 0 <= float(found["same"].max()) <= 1  # type: ignore[attr-defined]
        assert float(found["risk"].max()) > 0.5  # type: ignore[attr-defined]
        assert found["upper"].dims == found["risk"].dims  # type: ignore[attr-defined]


@pytest.mark.parametrize("line", blocks("grids", "yaml")[0].splitlines())
def test_a_source_of_the_page_on_grids_is_one(line: str) -> None:
    ((_, source),) = yaml.safe_load(line).items()
    assert parse(Source, source, context={"base": "/data"}).align is not None


def test_the_cluster_of_the_page_is_a_section() -> None:
    (section,) = (yaml.safe_load(text)["dask"] for text in blocks("large-rasters", "yaml"))
    assert parse(DaskSection, section).cluster == "slurm"


def test_groups_of_entry_points_are_those_of_the_code() -> None:
    groups = tomllib.loads(blocks("extending", "toml")[0])["project"]["entry-points"]
    assert GROUP in groups
    assert set(groups) == {"hmx.baselines", "hmx.networks", "hmx.readers"}


def test_pages_refer_to_pages_that_exist() -> None:
    pages = {page.stem for page in GUIDE.glob("*.md")}
    for page in GUIDE.glob("*.md"):
        named = re.findall(r"hmx\s+guide\s+([a-z][a-z-]*)[`)]", page.read_text(encoding="utf-8"))
        assert set(named) <= pages, page.stem
