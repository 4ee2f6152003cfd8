"""Peaks are those of the process that is measured, and of those below it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.bench import measured

LARGE = "a = bytearray(60 << 20)"
BELOW = (
    "import subprocess, sys; subprocess.run([sys.executable, '-c', "
    f"'{LARGE}; import time; time.sleep(.3)'])"
)


def test_the_peak_of_a_process_counts_what_it_has_freed() -> None:
    small, large = (measured.peak_rss(code) for code in ("pass", f"{LARGE}; del a"))
    assert 55 < large - small < 70


def test_the_peak_of_a_tree_counts_all_processes() -> None:
    assert measured.peak_pss(BELOW) > 60


@pytest.mark.parametrize("peak", [measured.peak_rss, measured.peak_pss])
def test_a_process_that_fails_is_no_measurement(peak: Callable[[str], float]) -> None:
    with pytest.raises(SystemExit, match="exit code 3"):
        peak("raise SystemExit(3)")
