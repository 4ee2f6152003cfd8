"""Laws of memory: what is freed is used again."""

from __future__ import annotations

import subprocess
import sys

import pytest

_COUNT = """
import resource, sys, threading
import numpy as np
from hmx.files.heap import release_memory, reuse_memory

reuse_memory()

def windows():
    for _ in range(8):
        np.full(20_000_000, 1.0, "float32") * 2  # 80 MB each

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    windows()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1])

windows()
found = [faults()]
thread = threading.Thread(target=lambda: found.append(faults()))
thread.start()
thread.join()
kept = resident()
release_memory()
print(*found, kept - resident())
"""


def _count(**env: str) -> tuple[int, int, int]:
    """Count page faults of later windows, in two threads, and pages that are given back."""
    done = subprocess.run(
        [sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True, env=env
    )
    first, second, pages = map(int, done.stdout.split())
    return first, second, pages


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of glibc")
def test_freed_memory_is_used_again_and_given_back_at_the_end() -> None:
    """Arrays of a second window cost no page faults, in any thread; the last ones are released."""
    main, thread, pages = _count()
    assert max(main, thread) < 500
    assert pages > 20_000  # of 4 KiB


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of glibc")
def test_a_choice_of_the_user_is_left_as_it_is() -> None:
    """Environment variables of the allocator come first."""
    assert min(_count(MALLOC_MMAP_THRESHOLD_="1000000")[:2]) > 500
