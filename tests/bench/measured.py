"""Code in a process of its own, and the memory that it takes at its peak."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

_STEP = 0.05  # seconds between two looks
_SHARE = 4  # a look takes as long as the kernel needs to add up pages: at most a fifth of the time


# the peak since the program began; that of wait4 counts the process that started it, too
_PEAK = "print([line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line][0])"


def peak_rss(code: str) -> float:
    """Run code in a new process; return its peak resident memory, MiB."""
    command = [sys.executable, "-c", f"{code}\n{_PEAK}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    _require(done.returncode)
    return int(done.stdout.split()[-1]) / 1024  # Linux counts KiB


def peak_pss(code: str) -> float:
    """Run code in a new process; return the peak PSS of it and all below it, MiB."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        start = time.perf_counter()
        peak = max(peak, _tree_pss(process.pid))
        time.sleep(max(_STEP, _SHARE * (time.perf_counter() - start)))
    _require(process.returncode)
    return peak


def _require(code: int) -> None:
    """Raise if a measured process has failed."""
    if code:
        raise SystemExit(f"the measured process failed with exit code {code}")


def _tree_pss(pid: int) -> float:
    """Add up PSS of a process and all below it, MiB."""
    total = 0
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(OSError, psutil.Error):
                rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
                total += int(rollup.partition("\nPss:")[2].split()[0])
    return total / 1024  # Linux counts KiB
