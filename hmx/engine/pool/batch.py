"""Batch systems: SLURM and its like start the workers, through dask-jobqueue."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from inspect import Parameter, signature
from typing import Any

import dask

from hmx.engine.options import DaskSection
from hmx.errors import BadArgument, did_you_mean

_CLASSES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
    "htcondor": "HTCondorCluster",
    "moab": "MoabCluster",
    "oar": "OARCluster",
}
# arguments that are ours to give, or that dask-jobqueue itself refuses
_OURS = {"self", "scheduler", "scheduler_cls", "job_cls", "n_workers", "loop", "asynchronous"}
_OURS |= {"dashboard_address", "host"}

_ALONE = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")  # of each worker


def batch_class(name: str) -> type[Any]:
    """Return dask-jobqueue's class for a batch system."""
    try:
        import dask_jobqueue
    except ImportError:
        raise BadArgument(
            f"dask.cluster={name!r} needs dask-jobqueue, which is not installed here. "
            'Type: pip install "hmx[hpc]"'
        ) from None
    found: type[Any] = getattr(dask_jobqueue, _CLASSES[name])
    return found


def batch_arguments(section: DaskSection, name: str) -> dict[str, Any]:
    """Check a section's arguments for dask-jobqueue, and add what it leaves open."""
    kind = batch_class(name)
    given = dict(section.model_extra or {})
    _require_known(given, kind)
    _require_enough(given, name)
    command = shlex.split(kind.job_cls.submit_command)[0]
    if shutil.which(command) is None:
        raise BadArgument(
            f"dask.cluster={name!r} submits jobs with {command!r}, which is not on this machine's "
            "PATH. Run hmx where you submit jobs, or use dask.workers."
        )
    # One process with all cores of its job: tiles take turns to use all of them. A port
    # is given because the HTTP server would take 8787, or warn that it is taken.
    options = _config(name, "scheduler-options") or {}
    options = {"dashboard_address": "127.0.0.1:0", **options, **given.get("scheduler_options", {})}
    processes = _config(name, "processes") or 1
    extra = given.get("worker_extra_args") or _config(name, "worker-extra-args") or []
    quiet = {"processes": processes, "silence_logs": "critical"}
    given["worker_extra_args"] = [*_ALONE, *extra]
    return quiet | given | {"scheduler_options": options}


def _config(name: str, key: str) -> Any:
    """Read dask-jobqueue's own configuration, ``jobqueue.yaml``."""
    return dask.config.get(f"jobqueue.{name}.{key}", None)


def _require_known(given: dict[str, Any], kind: type[Any]) -> None:
    known = sorted({*_parameters(kind), *_parameters(kind.job_cls)} - _OURS)
    for key in given:
        if key not in known:
            raise BadArgument(
                f"unknown key 'dask.{key}' (known with a cluster: {', '.join(known)})."
                f"{did_you_mean(key, known)}"
            )


def _parameters(kind: type[Any]) -> Iterator[str]:
    """Yield the names that a class and those of dask-jobqueue above it take."""
    for cls in kind.__mro__:
        if cls.__module__.startswith("dask_jobqueue") and "__init__" in vars(cls):
            for name, parameter in signature(vars(cls)["__init__"]).parameters.items():
                if parameter.kind is not Parameter.VAR_KEYWORD:
                    yield name


def _require_enough(given: dict[str, Any], name: str) -> None:
    for key, example in (("cores", "8"), ("memory", "16GB")):
        if given.get(key, _config(name, key)) is None:
            raise BadArgument(
                f"dask.{key} is missing, and a job of {name} asks for its {key}. "
                f"Add to the dask section {key}: {example}."
            )
    walltime = given.get("walltime")
    if walltime is not None and not isinstance(walltime, str):
        raise BadArgument(
            f"dask.walltime={walltime} is a number: YAML reads 24:00:00 as 86400, and {name} may "
            "take that for minutes. Put it in quotes: walltime: '24:00:00'."
        )


def why_refused(name: str, error: Exception) -> str:
    """Explain what a batch system answered."""
    answer = str(error).rpartition("stderr:\n")[2].strip() or str(error).strip()
    return f"{name} took no job: {answer}. Change the arguments in the dask section and run again."
