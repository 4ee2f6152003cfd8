"""Laws of who is let in: workers of hmx have credentials of their own."""

from __future__ import annotations

import stat
from contextlib import ExitStack
from pathlib import Path

import pytest
from distributed import Client

from hmx.engine.options import DaskSection
from hmx.engine.pool.batch import batch_arguments
from hmx.engine.pool.cluster import _credentials, check, connect
from hmx.errors import SourceError


def test_processes_here_are_reached_with_certificates_of_their_own_run() -> None:
    with connect(DaskSection(workers=1), tasks=1, device="cpu") as pool:
        address = pool.client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert all(
            w.startswith("tls://127.0.0.1:") for w in pool.client.scheduler_info()["workers"]
        )
        with pytest.raises((OSError, TypeError)):
            Client(address, timeout=3, set_as_default=False)


def test_certificates_of_batch_jobs_are_files_for_the_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HMX_CACHE", str(tmp_path))
    section = DaskSection(cluster="slurm", cores=1, memory="1GB")
    with ExitStack() as stack:
        secret = _credentials(section, stack)["security"]
        worker = secret.get_tls_config_for_role("worker")
        files = [Path(value) for value in worker.values() if value]
        assert len(files) == 3
        for file in files:
            assert file.is_relative_to(tmp_path / "jobs")
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert secret.require_encryption
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_user_who_names_a_protocol_has_it() -> None:
    section = DaskSection(cluster="slurm", cores=1, memory="1GB", protocol="tcp://")
    with ExitStack() as stack:
        assert _credentials(section, stack) == {}


def test_nobody_else_sees_a_dashboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    given = {"cores": 1, "memory": "1GB", "worker_extra_args": ["--lifetime", "1h"]}
    made = batch_arguments(DaskSection(cluster="slurm", **given), "slurm")
    assert made["scheduler_options"]["dashboard_address"] == "127.0.0.1:0"
    assert made["worker_extra_args"] == [
        "--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--lifetime", "1h",
    ]  # fmt: skip


def test_a_scheduler_that_does_not_answer_is_told_before_work_is_done() -> None:
    with pytest.raises(SourceError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:1'"):
        check(DaskSection(scheduler="tcp://127.0.0.1:1"))
