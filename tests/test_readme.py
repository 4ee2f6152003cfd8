"""The README is true: its code runs, its catalog is valid, its commands are CI's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hmx
from hmx.cli.main import hmx as cli
from hmx.learn.logged import metric_table
from tests.conftest import ROOT
from tests.factories import make_cube

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


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
    exec(compile(code, "README.md", "exec"), {})
    assert hmx.open_cube("build/readme_forecast.zarr").sizes["time"] == 4
    assert (tmp_path / "build" / "forecast.png").stat().st_size > 10_000


def test_the_catalog_example_is_valid(tmp_path: Path) -> None:
    (tmp_path / "catalog.yaml").write_text(blocks("yaml")[0])
    catalog = hmx.Catalog.load(tmp_path / "catalog.yaml")
    assert catalog.cube.sources["hm"].steps() == list(range(1990, 2021, 5))
    assert catalog.static == ("elevation",)


def test_every_command_of_the_readme_exists() -> None:
    listed = re.search(r"`hmx ([a-z |]+) CATALOG`", README)
    assert listed is not None
    assert sorted(listed[1].split(" | ")) == sorted(cli.commands)
    for words in re.findall(r"^hmx (\w+) catalogs/demo\.yaml(.*)$", README, flags=re.MULTILINE):
        command = cli.commands[words[0]]
        known = {flag for parameter in command.params for flag in parameter.opts}
        assert set(re.findall(r"--\w+", words[1])) <= known


def test_what_is_logged_is_what_the_readme_lists() -> None:
    assert f"\n{metric_table()}\n" in README


def test_every_linked_file_exists() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link


def test_shipped_catalogs_are_valid() -> None:
    for path in (ROOT / "catalogs").glob("*.yaml"):
        catalog = hmx.Catalog.load(path)
        for source in catalog.cube.sources.values():
            for step in source.steps() or [""]:
                assert Path(source.path_of(step)).exists()
