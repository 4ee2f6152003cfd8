"""Options: where tiles are computed."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, ValidationError, model_validator

from hmx.settings import FilePath, Options, Processes

PLACES = ("workers", "scheduler", "cluster")  # of the computation; a catalog names one


class TlsSection(Options):
    """Certificates of a scheduler at ``tls://``: PEM files."""

    ca: FilePath
    cert: FilePath
    key: FilePath


class DaskSection(Options):
    """Where tiles are computed: on this machine, by a running scheduler, or in batch jobs.

    Parameters
    ----------
    workers : int, optional
        Processes of this machine. Default: this process alone.
    scheduler : str, optional
        Address of a running Dask scheduler.
    tls : {ca, cert, key}, optional
        PEM files for a scheduler at ``tls://``.
    cluster : {"slurm", "pbs", "lsf", "sge", "htcondor", "moab", "oar"}, optional
        Batch system that starts the workers. Every key that is not listed here
        is then an argument of dask-jobqueue: ``cores``, ``memory``, ``queue`` ...
    jobs : int, optional
        Jobs to submit to it; default: 1.
    dashboard : bool, optional
        Start Dask's dashboard, a page with the progress of tasks, for workers of this machine, and
        print its address.
    """

    model_config = ConfigDict(extra="allow")  # the fields of Options stay frozen

    workers: Processes | None = None
    scheduler: str | None = None
    tls: TlsSection | None = None
    cluster: Literal["slurm", "pbs", "lsf", "sge", "htcondor", "moab", "oar"] | None = None
    jobs: Processes | None = None
    dashboard: bool | None = None

    @model_validator(mode="after")
    def _only_a_cluster_takes_more(self) -> DaskSection:
        if self.cluster is None and self.model_extra:
            raise ValidationError.from_exception_data(
                "dask",
                [
                    {"type": "extra_forbidden", "loc": (key,), "input": value}
                    for key, value in self.model_extra.items()
                ],
            )
        return self

    @model_validator(mode="after")
    def _one_place(self) -> DaskSection:
        given = {name: getattr(self, name) for name in PLACES if getattr(self, name) is not None}
        if len(given) > 1:
            both = " and ".join(f"{name}={value!r}" for name, value in given.items())
            raise ValueError(f"{both} name two places. Give one of {', '.join(PLACES)}")
        for name, place in (("tls", "scheduler"), ("jobs", "cluster")):
            if getattr(self, name) is not None and place not in given:
                raise ValueError(f"{name} belongs to a {place}. Add {place}: or leave out {name}")
        if self.dashboard is not None and self.workers is None and given:
            raise ValueError(
                f"dashboard belongs to workers of this machine, and a {next(iter(given))} has its "
                "own, whose address is printed. Leave out dashboard"
            )
        return self
