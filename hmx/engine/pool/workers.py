"""Workers of this machine: how many, with which threads and which GPU."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from distributed import Nanny, Worker

from hmx.errors import BadArgument
from hmx.hardware import THREADS, visible_gpus


def worker_specs(
    count: int, threads: int, gpus: Sequence[str] = (), *, inside: bool = False
) -> list[dict[str, Any]]:
    """Describe workers of this machine to ``distributed.SpecCluster``."""
    options: dict[str, Any] = {
        "nthreads": 2,  # one tile is read or written while another computes, under a lock
        # The plan sizes tiles to the memory there is; distributed's own limit would pause
        # or kill workers for arrays that are as planned.
        "memory_limit": 0,
        "silence_logs": logging.CRITICAL,
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",  # else it listens to the network
    }
    if inside:
        return [{"cls": Worker, "options": options}]
    options["host"] = "127.0.0.1"
    options["env"] = dict.fromkeys(THREADS, str(threads))
    specs = []
    for i in range(count):
        own = dict(options)
        if i < len(gpus):  # the only visible GPU is cuda:0 in that process
            own |= {
                "env": options["env"] | {"CUDA_VISIBLE_DEVICES": gpus[i]},
                "resources": {"GPU": 1},
            }
        specs.append({"cls": Nanny, "options": own})
    return specs


def choose_gpus(workers: int | None, device: str) -> list[str]:
    """Name the GPUs that get a process each."""
    if device.startswith("cuda:") and (workers or 1) > 1:
        raise BadArgument(
            f"device={device!r} is one GPU, and workers={workers} want one each. "
            "Pass device='cuda', or leave out workers."
        )
    if device not in ("auto", "cuda"):
        return []
    found = visible_gpus()
    if workers is None:
        return found if len(found) > 1 else []
    if device == "cuda" and workers > len(found):
        instead = f"workers={len(found)}" if found else "device='cpu'"
        raise BadArgument(
            f"workers={workers} with device='cuda' want a GPU each, and this machine has "
            f"{len(found)}. Pass {instead}."
        )
    return found[:workers]
