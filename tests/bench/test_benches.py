"""Benchmarks are run once, small, so that they never rot; nothing here is timed."""

from __future__ import annotations

import json
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import pytest

from hmx.catalog import Catalog
from hmx.engine.options import DaskSection
from hmx.workflow import ensure_model, ensure_result
from tests.bench import __main__ as benches
from tests.bench import crashes, damage, faults, gpu, ingest, job, jobmemory, memory, together
from tests.make.cubes import write_catalog
from tests.make.forks import Server


@pytest.mark.usefixtures("here")
def test_the_memory_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert memory.main(["--sides", "64", "128", "--tile", "64", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["side"] for row in report["rows"]] == [64, 128]
    assert all(row["peak_mib"] > 50 for row in report["rows"])


@pytest.mark.usefixtures("here")
def test_the_ingest_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest.main(["--shape", "600", "700", "--years", "2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["peak_mib"] > 50
    assert figures["stack_mib"] == pytest.approx(3.2, abs=0.1)


def test_the_benchmark_of_damage_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert damage.main(["--flips", "4", "--chunks", "4", "--metadata", "4", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert sum(row["damaged"] for row in rows) == sum(row["found"] for row in rows) == 12


def test_the_job_benchmark_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers are in this process: others load torch, which takes longer than the tiles."""
    monkeypatch.setattr(job, "DaskSection", lambda workers: DaskSection())
    assert job.main(["--side", "128", "--tile", "64", "--width", "2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["tiles"] == 4
    assert [row["tasks_per_tile"] for row in figures["rows"]] == [0, 1, 1]
    assert figures["job_over_loop"] > 0


@pytest.mark.usefixtures("here")
def test_the_job_memory_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert jobmemory.main(["--sides", "96", "120", "--workers", "0", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [row["work"] for row in figures["rows"]] == ["forecast", "verify", "report"] * 2
    assert all(row["peak_mib"] > 100 for row in figures["rows"])


def test_the_fault_benchmark_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kills are those of ``tests/engine/test_faults.py``; here, nobody is killed."""

    def undisturbed(catalog: Path, store: Path, seed: int) -> None:
        ensure_result(Catalog.load(catalog, [f"forecast.output={store}"]))

    def small(folder: Path) -> Path:
        folder.mkdir()
        catalog = write_catalog(folder)
        ensure_model(Catalog.load(catalog))
        return catalog

    monkeypatch.setattr(faults, "make_work", small)
    monkeypatch.setattr(faults, "KILLS", {"worker": undisturbed})
    assert faults.main(["--seeds", "1", "--victims", "worker", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["worker"]["same_bytes"] == 1


def test_the_crash_benchmark_runs(
    capsys: pytest.CaptureFixture[str], ready: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crashes, "server", lambda: nullcontext(ready))
    assert crashes.main(["--commands", "ingest", "--every", "20", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["ingest"]
    assert figures["points"] > 20
    assert figures["killed"] > 0
    assert figures["litter"] == []


def test_the_benchmark_of_commands_at_once_runs(
    capsys: pytest.CaptureFixture[str], ready: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forked: processes of their own differ in the seconds that they take to load."""
    monkeypatch.setattr(together, "server", lambda: nullcontext(ready))
    assert together.main(["--pairs", "1", "--fives", "0", "--real", "0", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["pairs"]
    assert (figures["commands"], figures["failed"], figures["different"]) == (2, [], [])


def test_one_command_names_them_all() -> None:
    with pytest.raises(SystemExit):
        benches.main(["nonsense"])
    for name in benches.BENCHES:
        assert callable(import_module(f"tests.bench.{name}").main)


def test_the_gpu_benchmark_runs_on_any_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--quick", "--device", "cpu", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    found = figures["convlstm"]
    assert found["errors"]["float32, RMS over RMS change"] < 1e-4
    assert found["errors"]["bfloat16, RMS over RMS change"] < 0.01
    assert all(row["network"] > 0 for row in found["rates"])
    assert figures["job"][0]["globe_minutes"] > 0
