"""Laws of the command line's words: flags are values, streams may end, bad words end with 2."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hmx.cli.main import hmx
from hmx.cli.shared import CommandCall, as_json, moment
from hmx.errors import BadArgument
from hmx.mapping.options import STUDY_NAMES
from hmx.networks.names import NETWORK_NAMES
from tests.conftest import ROOT
from tests.make.cubes import write_catalog
from tests.make.words import make_sandbox, try_in_process

CODE = "import sys; from hmx.cli.main import main; sys.argv[0] = 'hmx'; main()"
SPELLED = ("/data/maps #2/fc.zarr", "/data/a: b/fc.zarr", "/data/[x]/fc.zarr", "/data/'q'/fc.zarr",
           "/data/${HOME}/fc.zarr", "/data/{year}/fc.zarr", "/data/é ü/fc.zarr")  # fmt: skip


def run(*words: object) -> Result:
    return CliRunner().invoke(hmx, [str(word) for word in words])


def call(folder: Path, **flags: Any) -> CommandCall:
    return CommandCall(str(write_catalog(folder)), (), quiet=True, debug=False, **flags)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sandbox(tmp_path_factory.mktemp("sandbox"))


@pytest.mark.parametrize("path", SPELLED)
def test_a_flag_is_its_value_to_the_letter(tmp_path: Path, path: str) -> None:
    catalog, _ = call(tmp_path).forecast(h=None, level=(), exceed=(), region=None, output=path)
    assert catalog.forecast_path == path


@pytest.mark.parametrize("text", ["yes", "null", "1e3", "a: b", "#x", "tcp://[::1]:8786", "~"])
def test_an_address_is_no_yaml(tmp_path: Path, text: str) -> None:
    assert call(tmp_path, scheduler=text).load().dask.scheduler == text


def test_a_flag_does_not_outlive_what_the_file_says_of_another_place(tmp_path: Path) -> None:
    path = write_catalog(tmp_path, dask={"cluster": "slurm", "cores": 4})
    made = CommandCall(str(path), (), quiet=True, debug=False, workers=3).load()
    assert made.dask.model_dump(exclude_none=True) == {"workers": 3}


def test_a_year_is_a_number_and_any_other_moment_a_text() -> None:
    assert (moment("2020"), moment("2020-06"), moment("2e3"), moment(None)) == (
        2020, "2020-06", "2e3", None,
    )  # fmt: skip


@pytest.mark.parametrize("command", ["forecast", "plan", "evaluate", "ingest", "info", "guide"])
@pytest.mark.parametrize("words", [("-h", "4"), ("-h4",), ("-h",)])
def test_h_with_one_dash_is_no_help(command: str, words: tuple[str, ...]) -> None:
    result = run(command, "toy.yaml", *words)
    assert result.exit_code == 2
    assert "-h is not an option: --help explains a command, and --h 4 is the" in result.stderr
    assert run("-h").exit_code == 2
    assert run(command, "--help").exit_code == 0


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        *((c, "--workers") for c in ("ingest", "folds", "train", "export", "info", "verify")),
        *((c, "--scheduler") for c in ("ingest", "folds", "train", "export", "info", "verify")),
        *((c, "--device") for c in ("ingest", "folds", "export", "info", "verify")),
    ],
)
def test_a_flag_that_does_nothing_is_not_offered(command: str, flag: str) -> None:
    result = run(command, "toy.yaml", flag, "2")
    assert result.exit_code == 2
    assert f"{flag} belongs to " in result.stderr
    assert flag not in run(command, "--help").stdout


def test_a_command_that_is_none_names_the_nearest() -> None:
    assert "Did you mean 'forecast'?" in run("forcast", "toy.yaml").stderr
    assert "Name the command first" in run("toy.yaml").stderr
    assert run("forcast").exit_code == 2


def test_a_catalog_that_is_missing_is_asked_for() -> None:
    result = run("forecast")
    assert result.exit_code == 2
    assert "the catalog is missing: a YAML file" in result.stderr


@pytest.mark.parametrize("command", ["forecast", "ingest", "train"])
def test_a_store_in_place_of_a_catalog_is_told_from_one(sandbox: Path, command: str) -> None:
    result = run(command, sandbox / "toy.zarr")
    assert result.exit_code == 2
    assert "it is a folder, and a catalog is a file of YAML text" in result.stderr
    assert "It is a Zarr store, which hmx info, export, report and verify take" in result.stderr


def test_a_file_of_another_kind_is_named_with_what_takes_it(tmp_path: Path) -> None:
    def told(name: str) -> str:
        result = run("forecast", tmp_path / name)
        assert result.exit_code == 2
        return result.stderr

    (tmp_path / "in").mkdir()
    (tmp_path / "hm.tif").write_bytes(b"II*\0\0")
    (tmp_path / "soil.csv").write_text("lon,lat\n\tsoc")
    (tmp_path / "m.model").mkdir()
    (tmp_path / "m.model" / "bundle.json").write_text("{}")
    assert f"hmx init {tmp_path / 'in'} writes a catalog of the rasters" in told("in")
    assert f"It is a raster: hmx init {tmp_path} writes" in told("hm.tif")
    assert f"It is a model: hmx info {tmp_path / 'm.model'}" in told("m.model")
    assert "It is a table, which a catalog names: points: {path: soil.csv}" in told("soil.csv")


@pytest.mark.parametrize("name", sorted(hmx.commands))
def test_every_help_has_examples_that_can_be_typed(name: str) -> None:
    command = hmx.commands[name]
    shown = run(name, "--help").stdout
    assert "\nExamples:\n" in shown
    flags = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    for example in command.examples:
        assert f"\n  {example}\n" in shown
        words = example.partition(" > ")[0].split()
        assert words[:2] == ["hmx", name]
        assert {word for word in words if word.startswith("--")} <= flags


def test_the_list_of_commands_has_whole_descriptions() -> None:
    shown = " ".join(run("--help").stdout.partition("Commands:")[2].split())
    assert "..." not in shown
    for name, command in hmx.commands.items():
        assert f"{name} {command.get_short_help_str(limit=1000)}" in shown


def test_info_for_machines_has_what_it_prints(sandbox: Path) -> None:
    found = json.loads(run("info", sandbox / "toy.yaml", "--json").stdout)
    assert found["catalog"] == "toy"
    assert found["cube"]["facts"]["status"].startswith("complete")
    made = json.loads(run("info", sandbox / "toy.zarr", "--json").stdout)
    assert made == found["cube"]["facts"]
    for text in made.values():
        assert text in run("info", sandbox / "toy.zarr").stdout


def test_a_catalog_without_its_suffix_is_found(sandbox: Path) -> None:
    assert "Did you mean 'toy.yaml'?" in run("forecast", sandbox / "toy").stderr


def test_values_are_set_in_catalogs_alone(sandbox: Path) -> None:
    result = run("info", sandbox / "toy.zarr", "--set", "forecast.h=2")
    assert result.exit_code == 2
    assert "changes a catalog, and" in result.stderr


def test_json_has_no_number_that_json_lacks() -> None:
    made = as_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": (1, "x")})
    assert json.loads(made, parse_constant=pytest.fail) == {
        "a": None,
        "b": [None, 1.5],
        "c": [1, "x"],
    }


@pytest.mark.parametrize(
    "words",
    [
        ("forecast", "toy.yaml", "--scheduler", "tcp://127.0.0.1:1"),
        ("plan", "toy.yaml", "--scheduler", "nonsense"),
        ("forecast", "toy.yaml", "--output", "http://x.invalid/a.zarr"),
        ("forecast", "toy.yaml", "--output", "/dev/null/a.zarr"),
        ("evaluate", "toy.yaml", "--output", "foo://a"),
        ("folds", "toy.yaml", "--output", "/dev/null/a.png"),
        ("forecast", "toy.yaml", "--device", "cuda:99"),
        ("forecast", "toy.yaml", "--output", ""),
    ],
)
def test_what_cannot_be_in_the_end_is_refused_before_anything_is_made(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    write_catalog(tmp_path)
    found, output = try_in_process(tmp_path, words)
    assert found == [], output


def test_bad_words_end_with_2_and_write_nothing(sandbox: Path) -> None:
    from tests.make.words import invocations

    every = list(invocations())
    for words in every[:: len(every) // 40]:
        found, output = try_in_process(sandbox, words)
        assert found == [], (words, output)


def in_shell(folder: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell in which ``hmx`` is this hmx."""
    hmx = f'hmx() {{ "{sys.executable}" -c "{CODE}" "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail\n{hmx}{text}"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_a_reader_that_leaves_and_a_stream_that_is_closed_or_full_show_no_traceback(
    sandbox: Path,
) -> None:
    done = in_shell(
        sandbox,
        "hmx info toy.yaml | true; echo piped $?\n"
        "hmx info toy.yaml >&-; echo closed $?\n"
        "hmx info toy.yaml 2>&1 >/dev/full; echo full $?\n"
        "unset HOME; hmx info toy.yaml >/dev/null; echo home $?\n",
    )
    lines = done.stdout.splitlines()
    assert "Traceback" not in done.stderr + done.stdout
    assert "Exception ignored" not in done.stderr
    assert next(line for line in lines if line.startswith("piped")) in ("piped 141", "piped 0")
    assert "closed 0" in lines
    assert "full 1" in lines
    assert any("standard output cannot be written: No space left on device" in x for x in lines)
    assert "home 0" in lines


def test_an_empty_flag_for_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="--output is empty, and it is a path"):
        call(tmp_path).forecast(h=None, level=(), exceed=(), region=None, output=" ")


def test_the_words_of_the_study_are_in_help_and_guide() -> None:
    words = {*STUDY_NAMES, *NETWORK_NAMES, "use_validation"}
    assert len(words) == 9
    guide = (ROOT / "hmx" / "guide" / "maps.md").read_text(encoding="utf-8")
    for text in (run("train", "--help").output, guide):
        assert [word for word in sorted(words) if word not in text] == []
