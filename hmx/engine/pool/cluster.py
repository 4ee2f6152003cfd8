"""Where tile tasks run: in this process, in other processes of this machine, or on a cluster.

:func:`connect` opens workers of every kind. They end within seconds and without messages,
however the work ends, also in the middle of a tile.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed import Client, Nanny, Scheduler, SpecCluster, Worker
from distributed.security import Security
from distributed.utils import silence_logging_cmgr
from tornado.ioloop import IOLoop

from hmx.bundles.hub import cache_folder
from hmx.engine.options import DaskSection
from hmx.engine.pool.batch import batch_arguments, batch_class, why_refused
from hmx.engine.pool.lifecycle import event_loop, let_go, open_cluster, same_environment, settle
from hmx.errors import BadArgument, SourceError
from hmx.files.heap import VARIABLES
from hmx.hardware import THREADS, threads_each, torch_threads, visible_gpus
from hmx.progress import counted

_ALONE = {"host": "127.0.0.1", "protocol": "tls://"}


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


@dataclass(frozen=True)
class Pool:
    """Workers that wait for tasks."""

    # Takes the tasks. It is not Dask's default client, so that nothing else is computed there by
    # accident
    client: Client
    # Torch threads of each worker process; ``None``: as many as that worker has Dask threads,
    # because somebody else started it
    threads: int | None
    resources: Mapping[str, float]  # what each task asks for; empty on CPU
    where: str  # for the user: "2 workers here", "the scheduler at tcp://..."

    dashboard: str = ""  # address of the page on which Dask reports its work; empty without one

    @property
    def described(self) -> str:
        """Where tasks run, and the dashboard if there is one."""
        return self.where + (f" (dashboard: {self.dashboard})" if self.dashboard else "")


@contextmanager
def connect(section: DaskSection, *, tasks: int, device: str = "auto") -> Iterator[Pool]:
    """Start or find the workers that a catalog names, and let go of them at the end.

    Where it names none, the workers of the client that the user has opened are used, and kept.
    """
    with silence_logging_cmgr(logging.CRITICAL), same_environment(), ExitStack() as stack:
        loop = event_loop(stack)
        if section.scheduler is not None:
            yield _join(section, section.scheduler, stack, loop)
        elif section.cluster is not None:
            yield _submit(section, section.cluster, tasks, stack, loop)
        elif section.workers is None and (client := active_client()) is not None:
            address = client.scheduler_info().get("address", "this process")
            yield _checked(client, address, f"your Dask client at {address}")
        else:
            yield _start(section, tasks, device, stack, loop)


def check(section: DaskSection, *, device: str = "auto") -> None:
    """Refuse arguments that :func:`connect` would refuse, before hours of work."""
    if section.cluster is not None:
        batch_arguments(section, section.cluster)
    elif section.scheduler is None:
        choose_gpus(section.workers, device)
    else:
        with silence_logging_cmgr(logging.CRITICAL), same_environment(), ExitStack() as stack:
            client = _client_of(section, section.scheduler, event_loop(stack))
            let_go(client.close)


def _start(section: DaskSection, tasks: int, device: str, stack: ExitStack, loop: IOLoop) -> Pool:
    """Start workers on this machine."""
    if section.dashboard and find_spec("bokeh") is None:
        raise BadArgument(
            "dask.dashboard: true needs bokeh, which draws it. Type: "
            'pip install "hmx[dashboard]", or leave it out.'
        )
    gpus = choose_gpus(section.workers, device)
    inside = section.workers is None and not gpus
    count = max(1, min(tasks, len(gpus) or section.workers or 1))
    threads = torch_threads() if inside else threads_each(count)
    # without an address the scheduler's HTTP server takes port 8787, or warns that it is taken
    options = {"dashboard": bool(section.dashboard), "dashboard_address": "127.0.0.1:0"}
    # other users of this machine reach loopback, too: a connection needs these certificates
    secret = None if inside else Security.temporary()
    options |= {"protocol": "inproc://"} if inside else _ALONE | {"port": 0, "security": secret}
    scheduler = {"cls": Scheduler, "options": options}
    with warnings.catch_warnings():  # without a network, of the name of this machine
        warnings.filterwarnings("ignore", "Couldn't detect a suitable IP address", RuntimeWarning)
        cluster, client = open_cluster(
            stack, lambda: SpecCluster(scheduler=scheduler, loop=loop, security=secret)
        )
    specs = worker_specs(count, threads, gpus, inside=inside)
    for spec in specs if secret else ():
        spec["options"] |= _ALONE | {"security": secret}
    cluster.worker_spec = dict(enumerate(specs))
    # workers would look at the stacks of their threads 100 times a second, for a page that is not
    # there, and each look takes Python's lock from the thread that computes
    looks = {} if section.dashboard else {"distributed.worker.profile.enabled": False}
    try:
        with same_environment(), dask.config.set(looks):
            if not inside:  # read when libraries are loaded, which is before a nanny sets its env
                os.environ.update(dict.fromkeys(THREADS, str(threads)))
                for name, value in VARIABLES.items():
                    os.environ.setdefault(name, value)
            cluster.sync(settle, cluster)
    except Exception as error:
        raise BadArgument(
            f"workers={count}: the processes could not start ({error}). A script that starts "
            "processes keeps its code under `if __name__ == '__main__':`. Put it there, or leave "
            "out workers to compute in this process."
        ) from None
    # A worker offers its GPU once and a task asks for half of it: two are in flight, so that
    # one is read or written while the other computes.
    share = {"GPU": 0.5} if gpus else {}
    here = f"{counted(count, 'GPU' if gpus else 'worker')} here"
    page = _page(client) if section.dashboard else ""  # its address is there without it, too
    return Pool(client, threads, share, "this process" if inside else here, page)


def _submit(section: DaskSection, name: str, tasks: int, stack: ExitStack, loop: IOLoop) -> Pool:
    """Submit jobs that each start a worker; they may wait in their queue for hours."""
    arguments = batch_arguments(section, name) | _credentials(section, stack)
    jobs = min(section.jobs or 1, max(1, tasks))
    try:
        cluster, client = open_cluster(stack, lambda: batch_class(name)(**arguments, loop=loop))
        cluster.sync(settle, cluster, jobs)
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise SourceError(why_refused(name, error)) from None
    title = type(cluster).__name__.removesuffix("Cluster")
    return Pool(client, None, {}, counted(jobs, f"{title} job"), _page(client))


def _credentials(section: DaskSection, stack: ExitStack) -> dict[str, Any]:
    """Make certificates for one cluster, in files that jobs can read and other users cannot."""
    given = section.model_extra or {}
    if {"security", "protocol"} & given.keys():
        return {}
    folder = cache_folder() / "jobs"  # in the home, which batch systems share among nodes
    if "shared_temp_directory" in given:
        folder = Path(str(given["shared_temp_directory"])).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    private = Path(stack.enter_context(TemporaryDirectory(dir=folder)))  # of mode 0700
    secret = Security.temporary()
    for name in ("tls_ca_file", "tls_worker_key", "tls_worker_cert"):
        file = private / f"{name}.pem"
        file.touch(mode=0o600)
        file.write_text(getattr(secret, name))
        setattr(secret, name, str(file))
    return {"security": secret}


def _join(section: DaskSection, address: str, stack: ExitStack, loop: IOLoop) -> Pool:
    """Use the workers of a scheduler that runs."""
    client = _client_of(section, address, loop)
    stack.callback(let_go, client.close)
    return _checked(client, address, f"the scheduler at {address}")


def active_client() -> Client | None:
    """Return the client that the user has opened in this process, if it runs."""
    try:
        client = Client.current()
    except ValueError:
        return None
    # that of a program with an event loop of its own answers by awaiting alone
    return client if client.status == "running" and not client.asynchronous else None


def _checked(client: Client, address: str, where: str) -> Pool:
    """Wait for a worker, and refuse workers that cannot run the tasks."""
    seconds = parse_timedelta(dask.config.get("hmx.wait-for-workers", 60))
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError:
        raise SourceError(
            f"the Dask scheduler at {address!r} has no workers, and none came within "
            f"{seconds:g} s. Start one with `dask worker {address}`."
        ) from None
    require_same(client.get_versions(packages=["hmx"]))
    return Pool(client, None, {}, where, _page(client))


def _page(client: Client) -> str:
    return str(client.dashboard_link or "")


def _client_of(section: DaskSection, address: str, loop: IOLoop) -> Client:
    seconds = parse_timedelta(dask.config.get("hmx.wait-for-scheduler", 5))
    rule = "Start one with `dask scheduler`, or leave out --scheduler to compute here."
    if address.startswith("tls://"):
        rule = (
            "A scheduler at tls:// wants the certificates that it was started with: "
            "dask.tls: {ca: ca.pem, cert: cert.pem, key: key.pem}."
        )
    client = Client.__new__(Client)  # a name to close it by: half a client waits for its loop
    try:
        given = {"timeout": seconds, "loop": loop, "security": _security(section)}
        Client.__init__(client, address, set_as_default=False, **given)
        return client
    except KeyboardInterrupt:
        let_go(client.close)
        raise
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        let_go(client.close)
        raise SourceError(f"no Dask scheduler answers at {address!r} ({error}). {rule}") from None


def _security(section: DaskSection) -> Security | None:
    if section.tls is None:
        return None  # distributed looks into Dask's own configuration
    return Security(
        tls_ca_file=section.tls.ca,
        tls_client_cert=section.tls.cert,
        tls_client_key=section.tls.key,
        require_encryption=True,
    )


def require_same(versions: Mapping[str, Any]) -> None:
    """Refuse workers that cannot run the tasks of this process."""
    ours = versions["client"]["packages"]
    for address, worker in versions["workers"].items():
        for name, title in (("python", "Python"), ("hmx", "hmx")):
            want, has = _minor(ours.get(name)), _minor(worker["packages"].get(name))
            if want not in (None, has):  # None: a source tree that was not installed
                raise SourceError(
                    f"the worker at {address} has {f'{title} {has}' if has else f'no {title}'}, "
                    f"and this process {title} {want}: a worker must have what sends its tasks. "
                    "Start it from the environment of this process, or one like it."
                )


def _minor(version: str | None) -> str | None:
    return ".".join(version.split(".")[:2]) if version else None
