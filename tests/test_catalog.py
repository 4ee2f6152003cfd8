"""Laws of the catalog: paths are anchored, and what is wrong is named."""

from pathlib import Path

import pytest
import yaml

from hmx.catalog import Catalog, MapCatalog, is_catalog, load_catalog
from hmx.errors import CatalogError
from hmx.files.paths import is_url
from hmx.ingest.options import Source
from tests.conftest import ROOT

HM = {"path": "HM_{year}.tif", "years": [1990, 1995]}
QUOTE = 'Quote a text with marks for the shell and for YAML: --set "'
MARKS = "='a text: with # marks'\"."
KEYS = "hmx, name, cube, dask, track, zonal, export, report, model, train, forecast, evaluate"


@pytest.fixture
def write(tmp_path):
    """Write a good catalog with some keys changed."""

    def write(**changes):
        raw = {"hmx": 1, "cube": {"path": "a.zarr", "sources": {"hm": dict(HM)}}}
        for path, value in changes.items():
            *parents, last = path.split("__")
            at = raw
            for parent in parents:
                at = at.setdefault(parent, {})
            at[last] = value
        file = tmp_path / "c.yaml"
        file.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
        return file

    return write


def refusal(path, *overrides):
    with pytest.raises(CatalogError) as caught:
        Catalog.load(path, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (
            "forecast__level",
            180,
            "forecast.level = 180 in FILE: a level is a percentage between 0 and 100. Try 80.",
        ),
        ("forecast__h", 0, "forecast.h = 0 in FILE: must be at least 1."),
        ("forecast", None, "forecast = None in FILE: must be a mapping of keys to values."),
        (
            "forecast__precision",
            "half",
            "forecast.precision = 'half' in FILE: "
            "must be 'float32', 'bfloat16', 'auto' or 'float64'.",
        ),
        (
            "model__kernel",
            4,
            "model.kernel = 4 in FILE: a kernel has a centre, so its size is odd. Try 5.",
        ),
        (
            "model__dilation",
            [2, 3],
            "model in FILE: dilation=[2, 3] has 2 numbers for layers=1, "
            "and each layer has one. Try [1].",
        ),
        ("train__lr", "fast", "train.lr = 'fast' in FILE: must be a number."),
        ("dask__workers", 0, "dask.workers = 0 in FILE: must be at least 1."),
        (
            "dask",
            {"workers": 2, "scheduler": "tcp://h:1"},
            "dask in FILE: workers=2 and scheduler='tcp://h:1' name two places. "
            "Give one of workers, scheduler, cluster.",
        ),
        (
            "dask__cluster",
            "slrum",
            "dask.cluster = 'slrum' in FILE: "
            "must be 'slurm', 'pbs', 'lsf', 'sge', 'htcondor', 'moab' or 'oar'.",
        ),
        (
            "dask__jobs",
            4,
            "dask in FILE: jobs belongs to a cluster. Add cluster: or leave out jobs.",
        ),
        (
            "dask",
            {"workers": 2, "tls": {"ca": "a", "cert": "b", "key": "c"}},
            "dask in FILE: tls belongs to a scheduler. Add scheduler: or leave out tls.",
        ),
        (
            "track__wandb",
            "yes",
            "track.wandb = 'yes' in FILE: must be 'offline', 'online' or 'disabled'.",
        ),
        ("hmx", 2, "hmx = 2 in FILE: must be 1."),
        ("name", 5, "name = 5 in FILE: must be a text."),
        (
            "cube",
            {},
            "cube.path in FILE: this key is required.\ncube.sources in FILE: this key is required.",
        ),
        ("cube__sources", {}, "cube.sources = {} in FILE: must have at least 1 entry."),
        (
            "cube__target",
            "hmm",
            "cube in FILE: target 'hmm' is not among the sources (hm). Did you mean 'hm'?",
        ),
        (
            "cube__path",
            "${HMX_NOWHERE}/a.zarr",
            "cube.path = '${HMX_NOWHERE}/a.zarr' in FILE: "
            "${HMX_NOWHERE} is not set in the environment. Export HMX_NOWHERE.",
        ),
        (
            "cube__sources__hm__align",
            "cubic",
            "cube.sources.hm.align = 'cubic' in FILE: must be 'average', 'bilinear' or 'nearest'.",
        ),
        (
            "cube__sources__hm__valid_range",
            [1, 0],
            "cube.sources.hm.valid_range = [1, 0] in FILE: the range ascends. Try [0, 1].",
        ),
        (
            "cube__sources__hm__valid_range",
            [0, 1, 2],
            "cube.sources.hm.valid_range = [0, 1, 2] in FILE: must have at most 2 entries.",
        ),
        (
            "cube__sources__hm__valid_range",
            [0],
            "cube.sources.hm.valid_range = 0 in FILE: must have more entries.",
        ),
        (
            "cube__sources__hm__years",
            "1990",
            "cube.sources.hm.years = '1990' in FILE: must be a list.",
        ),
        (
            "cube__sources__hm__years",
            [1990, "x"],
            "cube.sources.hm.years = 'x' in FILE: must be a whole number.",
        ),
        (
            "cube__sources__hm__years",
            [],
            "cube.sources.hm.years = [] in FILE: must have at least 1 entry.",
        ),
        (
            "cube__sources__hm__years",
            {"start": 2020, "stop": 1990},
            "cube.sources.hm.years in FILE: stop=1990 comes before start=2020, "
            "and steps ascend. Try start: 1990, stop: 2020.",
        ),
        (
            "cube__sources__hm__years",
            {"start": 1990},
            "cube.sources.hm.years.stop in FILE: this key is required.",
        ),
        (
            "cube__sources__hm__path",
            "HM.nc",
            "cube.sources.hm in FILE: years is given, but the path has no {year}, and .nc files "
            "have times of their own, not bands. Leave it out, or put the mark in the path.",
        ),
        (
            "cube__sources__hm",
            {"path": "HM_{year}.tif"},
            "cube.sources.hm in FILE: the path has {year}, so it needs years: [...].",
        ),
        (
            "cube__sources__hm",
            {"path": "HM_{month}.tif"},
            "cube.sources.hm in FILE: the path has {month}, so it needs months: [...].",
        ),
        (
            "cube__sources__hm",
            {"path": "HM_{year}{month}.tif", "years": [1990], "months": [1]},
            "cube.sources.hm in FILE: give one of years, months, times and bands.",
        ),
    ],
    ids=str,
)
def test_a_wrong_value_is_told_its_place_and_its_rule(write, key, value, text):
    file = write(**{key: value})
    assert refusal(file) == text.replace("FILE", str(file))


@pytest.mark.parametrize(
    ("key", "path", "near"),
    [
        ("forecats", "forecats", "forecast"),
        ("forecast__levle", "forecast.levle", "level"),
        ("model__hiden", "model.hiden", "hidden"),
        ("cube__source", "cube.source", "sources"),
        ("cube__sources__hm__unit", "cube.sources.hm.unit", "units"),
        ("track__projct", "track.projct", "project"),
        ("dask__worker", "dask.worker", "workers"),
    ],
)
def test_an_unknown_key_at_any_depth_is_told_the_nearest(write, key, path, near):
    file = write(**{key: 1})
    text = refusal(file)
    assert text.startswith(f"unknown key '{path}' in {file} (known: ")
    assert text.endswith(f"). Did you mean '{near}'?")


def test_an_unknown_key_of_a_run_of_years_is_told_the_nearest(write):
    file = write(cube__sources__hm__years={"start": 1990, "stop": 2020, "steps": 5})
    assert refusal(file) == (
        f"unknown key 'cube.sources.hm.years.steps' in {file} (known: start, stop, step). "
        "Did you mean 'step'?"
    )


def test_only_a_batch_system_takes_keys_that_hmx_does_not_know(write):
    section = Catalog.load(write(dask={"cluster": "pbs", "cores": 8, "memory": "16GB"})).dask
    assert section.model_extra == {"cores": 8, "memory": "16GB"}
    for place in ({"scheduler": "tcp://h:1"}, {"workers": 2}, {}):
        file = write(dask=place | {"memory": "16GB", "queue": "short"})
        assert refusal(file) == "\n".join(
            f"unknown key 'dask.{key}' in {file} (known: workers, scheduler, tls, cluster, jobs, "
            "dashboard)."
            for key in ("memory", "queue")
        )


def test_certificates_lie_beside_the_catalog(write, tmp_path):
    tls = {"ca": "ca.pem", "cert": "/c/cert.pem", "key": "k/key.pem"}
    found = Catalog.load(write(dask={"scheduler": "tls://h:1", "tls": tls})).dask.tls
    assert (found.ca, found.cert) == (str(tmp_path / "ca.pem"), "/c/cert.pem")
    assert found.key == str(tmp_path / "k" / "key.pem")


@pytest.mark.parametrize(
    ("file", "override", "left"),
    [
        ({"workers": 2}, "dask.scheduler=tcp://h:1", {"scheduler": "tcp://h:1"}),
        ({"workers": 2}, "dask.workers=3", {"workers": 3}),
        ({"cluster": "slurm", "jobs": 9, "cores": 8}, "dask.workers=3", {"workers": 3}),
        (
            {"cluster": "slurm", "jobs": 9, "cores": 8},
            "dask.cluster=pbs",
            {"cluster": "pbs", "jobs": 9, "cores": 8},
        ),
        (
            {"scheduler": "tls://h:1", "tls": {"ca": "/a", "cert": "/b", "key": "/c"}},
            "dask.scheduler=tls://h:2",
            {"scheduler": "tls://h:2", "tls": {"ca": "/a", "cert": "/b", "key": "/c"}},
        ),
    ],
    ids=str,
)
def test_a_place_on_the_command_line_replaces_the_files(write, file, override, left):
    section = Catalog.load(write(dask=file), [override]).dask
    assert section.model_dump(exclude_none=True) == left


def test_two_places_on_the_command_line_are_refused(write):
    file = write(dask={"cluster": "slurm"})
    text = refusal(file, "dask.workers=2", "dask.scheduler=tcp://h:1")
    assert text.startswith(f"dask in {file}: workers=2 and scheduler='tcp://h:1' name two places.")


def test_bad_yaml_names_the_line(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("hmx: 1\ncube: [1\nname: x\n")
    assert refusal(file).startswith(f"{file} is not YAML at line 3, column 5: ")


def test_an_impossible_date_is_no_traceback(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("name: 2020-13-45\n")
    assert refusal(file) == f"{file} has an impossible value: month must be in 1..12."


@pytest.mark.parametrize(("text", "kind"), [("- 1", "list"), ("", "NoneType"), ("hm", "str")])
def test_a_catalog_is_a_mapping(tmp_path, text, kind):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    assert refusal(file) == (
        f"{file} holds {kind}, and a catalog is a mapping with the keys {KEYS}. "
        "See catalogs/demo.yaml."
    )


def test_what_cannot_be_read_is_no_catalog(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_bytes(b"\xff\xfe")
    assert refusal(file).startswith(f"{file} cannot be read as a catalog: ")
    assert refusal(tmp_path).startswith(f"{tmp_path} cannot be read as a catalog: ")


def test_a_missing_file_is_told_its_neighbours(write, tmp_path):
    write()
    lost = tmp_path / "cc.yaml"
    assert refusal(lost) == f"there is no catalog '{lost}'. Did you mean 'c.yaml'?"
    lost = tmp_path / "demonstration.yaml"
    assert refusal(lost) == f"there is no catalog '{lost}'. In its folder: c.yaml."
    lost = tmp_path / "nowhere" / "c.yaml"
    assert refusal(lost) == f"there is no catalog '{lost}'."


def test_overrides_are_yaml_at_a_path(write):
    catalog = Catalog.load(
        write(),
        [
            "forecast.h=2",
            "forecast.level=[80, 95]",
            "train.lr=1e-3",
            "name=x=y",
            "cube.sources.hm.years={start: 1990, stop: 2000, step: 5}",
            "cube.sources.elevation.path=e.tif",
            "forecast.h=3",
        ],
    )
    assert (catalog.forecast.h, catalog.forecast.level) == (3, (80, 95))
    assert (catalog.train.lr, catalog.name) == (0.001, "x=y")
    assert catalog.cube.sources["hm"].steps() == [1990, 1995, 2000]
    assert catalog.static == ("elevation",)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("forecast.h", "--set 'forecast.h': write key.path=value, e.g. forecast.h=2."),
        ("=2", "--set '=2': write key.path=value, e.g. forecast.h=2."),
        (
            "forecast.h=[",
            f"--set 'forecast.h=[': '[' is not a YAML value. {QUOTE}forecast.h{MARKS}",
        ),
        (
            "name=2020-13-45",
            f"--set 'name=2020-13-45': '2020-13-45' is not a YAML value. {QUOTE}name{MARKS}",
        ),
        ("name.x=1", "--set 'name.x=1': 'name' is not a section of the catalog."),
        ("forecast.h=0", "forecast.h = 0 in FILE: must be at least 1."),
        (
            "forecats.h=2",
            f"unknown key 'forecats' in FILE (known: {KEYS}). Did you mean 'forecast'?",
        ),
    ],
)
def test_a_bad_override_is_told_what_to_type(write, override, text):
    file = write(name="x")
    assert refusal(file, override) == text.replace("FILE", str(file))


def test_relative_paths_are_anchored_to_the_file(write, tmp_path, monkeypatch):
    file = write(cube__path="../build/a.zarr", model__path="m", forecast__output="f.zarr")
    monkeypatch.chdir(tmp_path)
    for asked in (file, Path("c.yaml")):
        catalog = Catalog.load(asked)
        assert catalog.cube.path == str(tmp_path.parent / "build" / "a.zarr")
        assert catalog.cube.sources["hm"].path == str(tmp_path / "HM_{year}.tif")
        assert catalog.model_path == str(tmp_path / "m")
        assert catalog.forecast_path == str(tmp_path / "f.zarr")


def test_absolute_paths_and_the_home_folder_are_kept(write, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    catalog = Catalog.load(write(cube__path="/data/a.zarr", model__path="~/m"))
    assert (catalog.cube.path, catalog.model_path) == ("/data/a.zarr", "/home/me/m")


@pytest.mark.parametrize(
    "url", ["s3://bucket/a.zarr", "https://x.org/a.zarr", "/vsizip/a.zip/a.tif", "gs://b/*.tif"]
)
def test_urls_and_virtual_paths_are_kept(write, url):
    assert is_url(url)
    assert Catalog.load(write(cube__path=url)).cube.path == url


def test_the_environment_is_read_before_a_path_is_anchored(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HMX_DATA", "s3://bucket")
    monkeypatch.setenv("HMX_NAME", "b")
    catalog = Catalog.load(
        write(cube__path="${HMX_DATA}/a.zarr", model__path="${HMX_NAME}_${HMX_NAME}.model")
    )
    assert catalog.cube.path == "s3://bucket/a.zarr"
    assert catalog.model_path == str(tmp_path / "b_b.model")


@pytest.mark.parametrize(
    ("cube", "model", "forecast"),
    [
        ("/d/a.zarr", "/d/a.model", "/d/a_forecast.zarr"),
        ("s3://b/a.zarr/", "s3://b/a.model", "s3://b/a_forecast.zarr"),
        ("/d/a", "/d/a.model", "/d/a_forecast.zarr"),
    ],
)
def test_products_lie_beside_the_cube_unless_told_otherwise(write, cube, model, forecast):
    catalog = Catalog.load(write(cube__path=cube))
    assert (catalog.model_path, catalog.forecast_path) == (model, forecast)


def test_sources_are_static_or_dynamic_by_their_axis(write):
    catalog = Catalog.load(
        write(
            cube__sources__elevation={"path": "e.tif"},
            cube__sources__light={"path": "l_{year}.tif", "years": [1990]},
        )
    )
    assert catalog.cube.target == "hm"
    assert (catalog.static, catalog.dynamic) == (("elevation",), ("light",))


@pytest.mark.parametrize(
    ("source", "axis", "paths"),
    [
        ({"path": "/a_{year}.tif", "years": [2000, 1990]}, "year", ["/a_2000.tif", "/a_1990.tif"]),
        (
            {"path": "/a_{year}/{year}.tif", "years": {"start": 1990, "stop": 1999, "step": 5}},
            "year",
            ["/a_1990/1990.tif", "/a_1995/1995.tif"],
        ),
        (
            {"path": "/a_{month}.tif", "months": {"start": 9, "stop": 11}},
            "month",
            ["/a_09.tif", "/a_10.tif", "/a_11.tif"],
        ),
        ({"path": "/a_{time}.tif", "times": ["2020-01-05"]}, "time", ["/a_2020-01-05.tif"]),
        ({"path": "/a.tif"}, None, []),
    ],
    ids=str,
)
def test_steps_fill_the_path(source, axis, paths):
    source = Source.model_validate(source)
    assert source.axis == axis
    assert [source.path_of(step) for step in source.steps()] == paths


def test_dates_without_quotes_are_dates_of_the_path(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(
        "cube:\n  path: a\n  sources:\n    hm: {path: 'h_{time}.tif', times: [2020-01-05]}\n"
    )
    assert Catalog.load(file).cube.sources["hm"].steps() == ["2020-01-05"]


@pytest.mark.parametrize(
    ("path", "answer"), [("a.yaml", True), ("A.YML", True), ("a.zarr", False), ("yaml", False)]
)
def test_a_catalog_is_told_by_its_suffix(path, answer):
    assert is_catalog(path) is is_catalog(Path(path)) is answer


@pytest.mark.parametrize("file", sorted((ROOT / "catalogs").glob("*.yaml")), ids=lambda p: p.name)
def test_catalogs_that_ship_are_valid(file, monkeypatch):
    monkeypatch.setenv("HMX_DATA", "/data")
    load_catalog(file)


def test_another_spelling_of_an_option_is_overridden(tmp_path):
    path = tmp_path / "soil.yaml"
    path.write_text(
        "hmx: 1\npoints: {path: points.csv}\ncube: {path: c.zarr, sources: {lc: {path: lc.tif}}}\n"
        "model: {window_size: 7}\ntrain: {loss: mse, num-runs: 3}\nmap: {time: 2013}\n"
    )
    sets = ["train.loss_type=l1", "train.runs=2", "model.window=9", "map.year=2014"]
    catalog = MapCatalog.load(path, sets)
    assert (catalog.train.loss, catalog.train.runs) == ("l1", 2)
    assert (catalog.model.window, catalog.map.time) == (9, 2014)
    assert MapCatalog.load(path).model.window == 7
    assert MapCatalog.load(path).train.runs == 3
