"""Laws of the survey: what it writes is a catalog that ingests, and what it can't know stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import hmx
from hmx.cli.main import hmx as cli
from hmx.errors import BadArgument, OutputExists, SourceError
from hmx.files.yamlfile import parse_yaml
from hmx.ingest.ingest import ingest
from hmx.survey.api import Survey, survey
from hmx.survey.names import groups, variable_name
from hmx.survey.text import quoted
from tests.conftest import ROOT
from tests.make import folders
from tests.make.rasters import field, write_tif


def look(folder: Path, **options: object) -> tuple[Survey, hmx.Catalog | hmx.MapCatalog]:
    made = survey(folder, folder.parent / "mine.yaml", overwrite=True, **options)  # type: ignore[arg-type]
    return made, hmx.load_catalog(made.path)


def cube_of(catalog: hmx.Catalog | hmx.MapCatalog) -> xr.Dataset:
    return hmx.open_cube(ingest(catalog))


def remarks(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if "#" in line)


def test_mixed_nodata_is_missing_however_it_is_declared(tmp_path: Path) -> None:
    made, catalog = look(folders.mixed_nodata(tmp_path / "hm"))
    ds = cube_of(catalog)
    assert made.job == "forecast"
    assert int(np.isnan(ds["hm"]).sum()) == len(folders.YEARS) * 6 * 30
    assert float(ds["hm"].max()) <= 1
    assert float(ds["elevation"].min()) >= 0
    assert catalog.cube.sources["hm"].units == "1"  # all values lie between 0 and 1
    assert "undeclared -9999" in made.text
    assert any(note.startswith("guess: hm: nodata: undeclared -9999") for note in made.notes)
    assert "declare different nodata" in made.text


def test_other_grids_are_aligned_by_their_pixels_and_those_elsewhere_left_out(
    tmp_path: Path,
) -> None:
    made, catalog = look(folders.mixed_grids(tmp_path / "hm"))
    align = {name: source.align for name, source in catalog.cube.sources.items()}
    assert align == {
        "hm": None, "population": "bilinear", "slope": "average", "roads_deg": "bilinear",
    }  # fmt: skip
    assert "left out: landcover (landcover.tif): its numbers look like classes" in made.text
    assert "left out: far (far.tif): it lies outside of the grid" in made.text
    assert cube_of(catalog).sizes == {"time": 7, "y": 40, "x": 30}


def test_classes_are_classes_in_a_map(tmp_path: Path) -> None:
    folder = folders.samples(tmp_path / "soil", dated=True)
    folders.mixed_grids(tmp_path / "other")
    (tmp_path / "other" / "landcover.tif").rename(folder / "landcover.tif")
    made, catalog = look(folder)
    source = catalog.cube.sources["landcover"]
    assert (source.categories, source.align) == (True, "nearest")
    assert "guess: categories: its numbers look like classes" in made.text
    assert set(np.unique(cube_of(catalog)["landcover"])) <= {11, 112, 311, 512}


def test_bands_are_steps_by_their_name_or_variables_by_their_descriptions(tmp_path: Path) -> None:
    made, catalog = look(folders.bands(tmp_path / "hm"))
    assert list(catalog.cube.sources) == ["hm", "landsat_red", "landsat_nir", "landsat_swir_1"]
    assert "rain (rain.tif): it has months of every year" in made.text
    ds = cube_of(catalog)
    assert [str(t)[:4] for t in ds["time"].values] == [str(year) for year in folders.YEARS]
    np.testing.assert_allclose(ds["landsat_nir"][0], field(folders.SHAPE, seed=1995) + 0.199,
                               atol=1e-6)  # fmt: skip


def test_steps_are_regular_and_dates_may_be_written_otherwise(tmp_path: Path) -> None:
    made, catalog = look(folders.dates(tmp_path / "hm"))
    assert catalog.cube.sources["hm"].steps() == folders.YEARS
    for words in ("2017 left out", "hm_2010_old.tif): its name", "slope.tif has no CRS",
                  "ndvi_{time:%Y_%m}.tif): it has no 1990"):  # fmt: skip
        assert words in made.text
    assert str(tmp_path) not in made.text
    _, monthly = look(tmp_path / "hm", target="ndvi")
    ds = cube_of(monthly)
    assert str(ds["time"].values[3])[:7] == "2001-04"
    np.testing.assert_array_equal(ds["ndvi"][3], field(folders.SHAPE, seed=4))


def test_years_whose_names_are_spelled_differently_are_one_series(tmp_path: Path) -> None:
    names = {2000: "HM_2000.tif", 2005: "HM_2005.tif", 2010: "hm 2010.TIF", 2015: "Hm-2015.tiff",
             2020: "HM_2020_final.tif"}  # fmt: skip
    for year, name in names.items():
        write_tif(tmp_path / "in" / name, field((20, 20), seed=year))
    made, catalog = look(tmp_path / "in")
    assert catalog.cube.target == "hm"
    assert catalog.cube.sources["hm"].steps() == [2000, 2005, 2010, 2015]
    found = cube_of(catalog)["hm"]
    for at, year in enumerate([2000, 2005, 2010, 2015]):
        assert found["time.year"].values[at] == year
        np.testing.assert_array_equal(found.values[at], field((20, 20), seed=year))
    assert "spelled differently are one series: HM_2000.tif, Hm-2015.tiff, hm 2010" in made.text
    assert "HM_2020_final.tif): its name does not fit the series hm. If it belongs there, " \
        "rename it like HM_2000.tif" in made.text  # fmt: skip
    # a pattern that would match another file joins nothing
    (tmp_path / "in" / "x_2010.txt").write_text("notes")
    made = survey(tmp_path / "in", tmp_path / "other.yaml")
    assert made.job == "open"
    assert "(hm 2010.TIF): its name does not fit the series hm" in made.text


def test_a_series_that_ends_before_its_last_map_is_to_be_checked(tmp_path: Path) -> None:
    for year in (1990, 1995, 2000, 2015):
        write_tif(tmp_path / "in" / f"hm_{year}.tif", field((20, 20), seed=year))
    made, catalog = look(tmp_path / "in")
    assert catalog.cube.sources["hm"].steps() == [1990, 1995, 2000]
    assert any(n.startswith("check: hm: 2015 left out") and "2000 is the last map" in n
               for n in made.notes)  # fmt: skip


def test_tiles_of_a_map_are_one_map(tmp_path: Path) -> None:
    _, catalog = look(folders.tiles(tmp_path / "hm"))
    assert cube_of(catalog)["hm"].shape == (7, 40, 60)


def test_a_file_with_a_time_axis_needs_no_years(tmp_path: Path) -> None:
    _, catalog = look(folders.arrays(tmp_path / "hm"))
    assert {n: s.variable for n, s in catalog.cube.sources.items()} == {
        "hm": "hm",
        "slope": "slope",
    }
    assert cube_of(catalog)["hm"].sizes["time"] == 7


@pytest.mark.parametrize("dated", [True, False])
def test_samples_make_it_a_map_whose_training_inputs_join(tmp_path: Path, dated: bool) -> None:
    from hmx.workflow import describe_points

    made, catalog = look(folders.samples(tmp_path / "soil", dated=dated, undeclared=True))
    assert isinstance(catalog, hmx.MapCatalog)
    assert (catalog.points.target, catalog.points.crs) == ("soc", "EPSG:32632")
    assert (catalog.points.date, catalog.points.missing) == ("date" if dated else None, (-999.0,))
    assert "soc_old" not in catalog.cube.sources
    assert "may be a map of soc itself" in made.text
    assert catalog.dynamic == ("lst", "ndvi")
    assert catalog.model.history == (1 if dated else 4)
    ds = cube_of(catalog)
    assert ds["rain"].sizes["month"] == 12
    assert "76 samples of soc" in describe_points(catalog)
    _, other = look(tmp_path / "soil", target="ndvi")
    assert isinstance(other, hmx.Catalog)


def rewritten(folder: Path, lines: Callable[[list[str]], list[str]]) -> Path:
    path = folders.samples(folder, dated=False) / "soil.csv"
    path.write_text("\n".join(lines(path.read_text("utf-8").splitlines())) + "\n", "utf-8")
    return folder


def test_exchanged_columns_are_read_as_the_points_lie(tmp_path: Path) -> None:
    def exchanged(lines: list[str]) -> list[str]:
        return [lines[0].replace("easting;northing", "northing;easting"), *lines[1:]]

    made, catalog = look(rewritten(tmp_path / "soil", exchanged))
    assert isinstance(catalog, hmx.MapCatalog)
    assert (catalog.points.x, catalog.points.y) == ("northing", "easting")
    assert any(note.startswith("check: easting and northing are exchanged") for note in made.notes)


def test_text_among_the_numbers_of_a_column_is_named_and_refused_as_a_target(
    tmp_path: Path,
) -> None:
    def limited(lines: list[str]) -> list[str]:
        return [lines[0], *(row.rpartition(";")[0] + ";<0.5" for row in lines[1:4]), *lines[4:]]

    folder = rewritten(tmp_path / "soil", limited)
    made, catalog = look(folder)
    assert isinstance(catalog, hmx.MapCatalog)
    assert catalog.points.target == "clay"
    assert "check: soc is left out, for it holds text in 3 rows, such as '<0.5'" in made.notes
    with pytest.raises(BadArgument, match=r"soil.csv cannot be mapped: target column 'soc' of"):
        look(folder, target="soc")


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (lambda rows: rows[:5], "it has 4 rows, and a map needs 10 at least"),
        (lambda rows: [row.replace(";5", ";9") for row in rows], "none of its points lies on the"),
    ],
)
def test_a_table_that_cannot_be_mapped_names_the_reason(
    tmp_path: Path, lines: Callable[[list[str]], list[str]], why: str
) -> None:
    folder = rewritten(tmp_path / "soil", lines)
    for path in [*folder.glob("ndvi_*"), *folder.glob("lst_*")]:
        path.unlink()
    made = survey(folder, tmp_path / "mine.yaml")
    assert made.job == "open"
    assert f"  # fill in: soil.csv: {why}" in made.text
    assert any(note.startswith("not used: soil.csv") and why in note for note in made.notes)


def test_whole_numbers_that_may_be_classes_are_to_be_checked_in_a_map(tmp_path: Path) -> None:
    folder = folders.samples(tmp_path / "soil", dated=False)
    write_tif(folder / "units.tif", (7 * field(folders.SHAPE, seed=1)).astype("uint8"))
    made, catalog = look(folder)
    assert not catalog.cube.sources["units"].categories
    assert any(
        note.startswith("check: units: it has 7 whole numbers from 0") for note in made.notes
    )


def test_what_only_the_user_knows_stands_as_a_comment_to_fill_in(tmp_path: Path) -> None:
    made = survey(folders.unknown(tmp_path / "hm"), tmp_path / "mine.yaml")
    assert made.job == "open"
    line = next(x for x in made.text.splitlines() if "stack.tif" in x)
    assert "fill in: the first year of its 7 bands" in line
    opened = made.text.replace(line, line.partition("#")[0] + line.partition("# ")[2])
    made.path.write_text(opened, encoding="utf-8")
    catalog = hmx.Catalog.load(made.path)
    assert cube_of(catalog)["hm"].sizes["time"] == 7


def test_units_that_may_differ_are_to_be_checked(tmp_path: Path) -> None:
    for year in (2000, 2005, 2010):
        scale = 100 if year == 2010 else 1
        write_tif(tmp_path / "in" / f"tree_{year}.tif", scale * field((20, 20), seed=year))
    made, _ = look(tmp_path / "in")
    assert "check: tree_2005.tif has values up to about 0.98" in made.text
    assert any(note.startswith("check: tree") for note in made.notes)


def test_the_demos_are_read_as_their_own_catalogs_have_them(tmp_path: Path) -> None:
    for folder, own in (("demo", "demo.yaml"), ("demo_soc", "demo_soc.yaml")):
        made = survey(ROOT / "data" / folder, tmp_path / own)
        mine, theirs = hmx.load_catalog(made.path), hmx.load_catalog(ROOT / "catalogs" / own)
        assert {n: (s.path, s.steps()) for n, s in mine.cube.sources.items()} == {
            n: (s.path, s.steps()) for n, s in theirs.cube.sources.items()
        }
        assert not any(note.startswith("fill in: as it is") for note in made.notes)


@pytest.mark.parametrize("name", ["amapa", "europe", "north_carolina", "macedonia"])
def test_real_folders_are_read_without_a_question(
    tmp_path: Path, real_data: Path, name: str
) -> None:
    made = survey(real_data / name, tmp_path / f"{name}.yaml")
    assert made.job == ("map" if name == "macedonia" else "forecast")
    catalog = hmx.load_catalog(made.path)
    files = {p.name for p in (real_data / name).glob("*.tif")}
    named = {
        Path(source.path_of(step)).name
        for source in catalog.cube.sources.values()
        for step in source.steps() or [""]
    }
    assert named == files
    assert "left out" not in remarks(made.text).replace('"guess", "check"', "")


def test_names_give_their_dates_and_nothing_else() -> None:
    names = ["2000/x_v2020_2000.tif", "2005/x_v2020_2005.tif", "MOD_A2000049.tif",
             "MOD_A2000065.tif", "p_2000_2005.tif", "p_2005_2010.tif", "dem.tif"]  # fmt: skip
    found = {group.pattern: group for group in groups(names)}
    assert found["{year}/x_v2020_{year}.tif"].files.keys() == {2000, 2005}
    assert found["MOD_A{time}.tif"].files.keys() == {"2000049", "2000065"}
    assert "two dates" in found["p_2000_2005.tif"].trouble
    assert variable_name("a/LST_DAY_{month}.tif") == "lst_day"
    assert variable_name("hfp/{year}.tif") == "hfp"
    assert variable_name("{year}.tif") == "map"


@pytest.mark.parametrize("text", ["a: b", "yes", "12", "x #y", "it's", "a/{year}.tif", "-a", ""])
def test_a_quoted_text_is_read_as_it_was(text: str) -> None:
    assert parse_yaml(f"k: {quoted(text)} # comment")["k"] == text


def test_what_cannot_be_looked_at_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"does not exist\. Pass the folder"):
        survey(tmp_path / "absent", tmp_path / "a.yaml")
    with pytest.raises(SourceError, match="has no rasters"):
        survey(tmp_path, tmp_path / "a.yaml")
    with pytest.raises(BadArgument, match="hmx init looks at a folder of this machine"):
        survey("s3://bucket/rasters", tmp_path / "a.yaml")
    with pytest.raises(BadArgument, match=r"a catalog ends in .yaml. Try a.txt.yaml"):
        survey(ROOT / "data" / "demo", tmp_path / "a.txt")
    with pytest.raises(BadArgument, match=r"'hmm' is neither .* Did you mean 'hm'\?"):
        survey(ROOT / "data" / "demo", tmp_path / "a.yaml", target="hmm")
    (tmp_path / "a.yaml").write_text("mine")
    with pytest.raises(OutputExists, match=r"--output mine\.yaml"):
        survey(ROOT / "data" / "demo", tmp_path / "a.yaml")


def test_the_command_writes_next_to_where_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders.mixed_nodata(tmp_path / "my maps")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["init", "my maps"])
    assert result.exit_code == 0, result.output
    assert result.stdout == "my_maps.yaml\n"
    assert "next: hmx forecast my_maps.yaml" in result.stderr
    assert CliRunner().invoke(cli, ["init", "my maps"]).exit_code == 2
    assert hmx.Catalog.load("my_maps.yaml").cube.path == str(tmp_path / "build" / "my_maps.zarr")
