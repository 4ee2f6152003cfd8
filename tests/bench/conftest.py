"""Benchmarks that measure a process of its own run their code in this one: only they must not rot.

A new interpreter that loads torch and all else takes ten times as long as the small work of a test.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stdout

import psutil
import pytest

from tests.bench import measured


def _run_here(code: str) -> float:
    with redirect_stdout(io.StringIO()):
        exec(compile(code, "<measured>", "exec"), {"__name__": "__main__"})
    return psutil.Process().memory_info().rss / 2**20


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], float]:
    """Run measured code in this process."""
    monkeypatch.setattr(measured, "peak_rss", _run_here)
    monkeypatch.setattr(measured, "peak_pss", _run_here)
    return _run_here
