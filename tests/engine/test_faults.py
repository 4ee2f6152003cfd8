"""Laws of survival: whatever is killed, the same bytes come out in the end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.make.faults import (
    KILLS,
    LIMIT,
    TILES,
    cluster,
    finish,
    make_work,
    records,
    reference,
    start,
    tree,
    wait_until,
    workers,
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    catalog = make_work(tmp_path_factory.mktemp("work"))
    return catalog, reference(catalog)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "victim"), list(enumerate(KILLS)))
def test_whoever_is_killed_the_bytes_are_those_of_an_uninterrupted_job(
    work: tuple[Path, dict[str, bytes]], tmp_path: Path, victim: str, seed: int
) -> None:
    catalog, bytes_wanted = work
    KILLS[victim](catalog, tmp_path / "fc.zarr", seed)
    assert tree(tmp_path / "fc.zarr") == bytes_wanted


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--workers", "2")], ids=["here", "workers"])
def test_ctrl_c_stops_in_the_middle_and_says_how_to_go_on(
    work: tuple[Path, dict[str, bytes]], tmp_path: Path, words: tuple[str, ...]
) -> None:
    catalog, bytes_wanted = work
    store = tmp_path / "fc.zarr"
    process = start(catalog, store, *words)
    wait_until(lambda: records(store) >= 2, process)
    below = workers(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    code, err = finish(process)
    assert code == 130
    assert "Run the same command again to go on." in err
    assert records(store) < TILES
    wait_until(lambda: not any(child.is_running() for child in below))
    assert finish(start(catalog, store))[0] == 0
    assert tree(store) == bytes_wanted


@pytest.mark.slow
def test_a_second_job_refuses_while_the_first_lives_and_takes_over_when_it_is_dead(
    work: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    catalog, bytes_wanted = work
    store = tmp_path / "fc.zarr"
    first = start(catalog, store)
    wait_until(lambda: records(store) >= 1, first)
    os.kill(first.pid, signal.SIGSTOP)  # alive, and slow
    code, err = finish(start(catalog, store, "--overwrite"))
    assert code == 1
    assert f"is being written by another job (process {first.pid} on" in err
    first.kill()
    assert first.end(LIMIT)[0] == -signal.SIGKILL
    assert finish(start(catalog, store))[0] == 0
    assert tree(store) == bytes_wanted


@pytest.mark.slow
def test_a_full_disk_is_a_clear_error_and_room_lets_it_go_on(
    work: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    catalog, bytes_wanted = work
    store = tmp_path / "fc.zarr"
    largest = max(len(data) for name, data in bytes_wanted.items() if "/c/" in name)
    first = len(bytes_wanted["hm/c/0/0/0"])
    assert first < largest - 200, "the test needs a tile that fits and one that does not"
    code, err = finish(start(catalog, store, "--quiet", largest=largest - 100))
    assert code == 1
    assert "cannot be written: File too large. Make room or give access" in err
    assert 0 < records(store) < 49
    code, err = finish(start(catalog, store))
    assert code == 0
    assert "tiles are done and proven" in err
    assert tree(store) == bytes_wanted


@pytest.mark.slow
def test_a_scheduler_and_workers_that_run_elsewhere_do_the_work(
    work: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    catalog, bytes_wanted = work
    with cluster(2) as (address, _):
        code, err = finish(start(catalog, tmp_path / "fc.zarr", "--scheduler", address))
    assert code == 0, err
    assert f"by the scheduler at {address}" in err
    assert tree(tmp_path / "fc.zarr") == bytes_wanted


def test_a_job_that_never_started_leaves_nothing_behind(
    work: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    catalog, _ = work
    code, err = finish(start(catalog, tmp_path / "fc.zarr", "--scheduler", "tcp://127.0.0.1:9"))
    assert code == 2
    assert "no Dask scheduler answers" in err
    assert not [*tmp_path.iterdir()]
