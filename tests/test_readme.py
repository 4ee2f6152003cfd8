"""The README is true: its code runs, its catalog is valid, its commands are CI's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hmx
from hmx.cli.main import hmx as cli
from hmx.files.paths import is_url
from hmx.training.metrics import metric_table
from hmx.workflow import ensure_cube
from tests.conftest import ROOT
from tests.make.cubes import make_cube

README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = {
    page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "hmx" / "guide").glob("*.md")
}


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_there_are_two_commands_of_one_line_each() -> None:
    start = README.split("## Start")[1].split("\n## ")[0]
    commands = re.findall(r"```bash\n(.*?)```", start, flags=re.DOTALL)
    assert [command.strip() for command in commands] == [
        "pip install -e . && hmx forecast catalogs/demo.yaml",
        'pip install -e ".[test]" && pytest',
    ]


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cube = make_cube((96, 112), steps=7)  # as many as the demo has
    cube.to_zarr("build/demo.zarr", consolidated=False, zarr_format=3)
    code = blocks("python")[0].replace("epochs=2", "epochs=1, steps=1")
    assert "above=0.4)" in code
    code = code.replace("above=0.4)", "above=0.4, draws=5)")
    exec(compile(code, "README.md", "exec"), {})
    assert hmx.open_cube("build/readme_forecast.zarr").sizes["time"] == 4
    assert (tmp_path / "build" / "forecast.png").stat().st_size > 10_000


def test_the_catalog_example_is_valid(tmp_path: Path) -> None:
    (tmp_path / "catalog.yaml").write_text(blocks("yaml")[0])
    catalog = hmx.Catalog.load(tmp_path / "catalog.yaml")
    assert catalog.cube.sources["hm"].steps() == list(range(1990, 2021, 5))
    assert catalog.static == ("elevation",)


def test_the_mapping_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    cube = f"cube.path={tmp_path}/build/demo_soc.zarr"
    ensure_cube(hmx.MapCatalog.load(ROOT / "catalogs" / "demo_soc.yaml", [cube]))
    code, long = blocks("python", GUIDE["maps"])[-1], '"epochs": 40, "batch": 64, "runs": 3'
    assert long in code
    assert '"folds": 5' in code
    quick = code.replace(long, '"epochs": 1, "runs": 1, "inner": 2').replace("5}", "2}")
    exec(compile(quick, "README.md", "exec"), {})
    assert isinstance(hmx.load("build/readme_soc.model"), hmx.MapBundle)
    assert (tmp_path / "build" / "soc.png").stat().st_size > 10_000


def test_the_catalog_of_a_map_is_that_of_the_demo(tmp_path: Path) -> None:
    (tmp_path / "catalogs").mkdir()
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "catalogs" / "map.yaml").write_text(blocks("yaml", GUIDE["maps"])[0])
    catalog = hmx.MapCatalog.load(tmp_path / "catalogs" / "map.yaml")
    demo = hmx.MapCatalog.load(ROOT / "catalogs" / "demo_soc.yaml")
    assert (catalog.dynamic, catalog.static) == (("ndvi", "lst"), ("precip", "elevation"))
    for source in catalog.cube.sources.values():
        for step in source.steps() or [""]:
            assert Path(source.path_of(step)).exists()
    assert Path(catalog.points.path).exists()
    assert catalog.train == demo.train
    assert catalog.model.model_dump(exclude={"path"}) == demo.model.model_dump(exclude={"path"})


@pytest.mark.parametrize(("page", "catalog"), [("maps", hmx.MapCatalog), ("training", hmx.Catalog)])
def test_keys_of_the_guide_exist(page: str, catalog: type[hmx.Catalog] | type[hmx.MapCatalog]):
    keys = re.findall(r"`(points|model|train|map)\.(\w+)", GUIDE[page])
    assert len(keys) > 10
    for part, key in keys:
        section_type = catalog.model_fields[part].annotation
        assert section_type is not None
        assert key in section_type.model_fields, f"{part}.{key}"


def test_every_command_of_the_readme_exists() -> None:
    listed = re.search(r"`hmx ([a-z |]+) CATALOG`", README)
    assert listed is not None
    assert sorted([*listed[1].split(" | "), "guide", "init", "compare"]) == sorted(cli.commands)
    table = README.split("## Guide")[1].split("\n## ")[0].partition("|---|---|")[2]
    assert set(re.findall(r"`([\w-]+)`", table)) == {*GUIDE} - {"index"}
    typed = re.findall(r"^hmx (\w+) catalogs/(\w+\.yaml)(.*)$", README, flags=re.MULTILINE)
    assert {catalog for _, catalog, _ in typed} == {"demo.yaml", "demo_soc.yaml"}
    for name, catalog, words in typed:
        known = {flag for parameter in cli.commands[name].params for flag in parameter.opts}
        assert set(re.findall(r"--\w+", words)) <= known
        hmx.load_catalog(ROOT / "catalogs" / catalog, re.findall(r"--set (\S+)", words))


def test_what_is_logged_is_what_the_guide_lists() -> None:
    assert f"\n{metric_table()}\n" in GUIDE["training"]


def test_the_readme_is_short() -> None:
    assert README.count("\n") <= 150


def test_every_linked_file_exists() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link


def test_shipped_catalogs_are_valid() -> None:
    for path in (ROOT / "catalogs").glob("*.yaml"):
        catalog = hmx.load_catalog(path)
        for source in catalog.cube.sources.values():
            for step in source.steps() or [""]:
                path = source.path_of(step)
                assert is_url(path) or Path(path).exists()
