"""The ``hmx`` command: loads nothing heavy until a command needs it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import click

from hmx.cli.compare import compare
from hmx.cli.evaluate import evaluate
from hmx.cli.export import export
from hmx.cli.failing import CommandFailure, Group, discard_stdout, open_closed_streams
from hmx.cli.folds import folds
from hmx.cli.forecast import forecast
from hmx.cli.guide import guide
from hmx.cli.info import info
from hmx.cli.ingest import ingest
from hmx.cli.init import init
from hmx.cli.map import map_
from hmx.cli.plan import plan
from hmx.cli.predict import predict
from hmx.cli.report import report
from hmx.cli.select import select
from hmx.cli.stock import stock
from hmx.cli.train import train
from hmx.cli.verify import verify
from hmx.cli.zonal import zonal
from hmx.files.heap import reuse_memory


# -h is not help: on commands with --h it is a typing error, and help would exit with 0
@click.group(cls=Group, context_settings={"max_content_width": 100})
@click.version_option(package_name="hmx", prog_name="hmx")
def hmx() -> None:
    """Forecast raster time series and map point samples, with prediction intervals.

    hmx init FOLDER writes a catalog, a YAML file of what to read, fit and write. Every
    other command takes one, builds what it needs and is missing, and reuses what is there. Try
    hmx forecast catalogs/demo.yaml, and hmx guide for the manual.
    """


for command in (  # as help lists them: first what a newcomer types
    init, forecast, map_, report, export, evaluate, compare, zonal, predict, stock, plan, info,
    ingest, train, select, folds, verify, guide,
):  # fmt: skip
    hmx.add_command(command)


def _exit_while_computing() -> None:
    """End at once if a thread is computing: Python would wait for it, and it is not needed."""
    step = sys.modules.get("hmx.hardware")
    # Looked up rather than imported: a command that loaded no torch has nothing to wait for. 130
    # is 128 + SIGINT, as shells have it.
    if step is not None and step.is_computing():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)


def _show(error: click.ClickException) -> None:
    """Write an error, if anybody can read it."""
    with suppress(OSError):
        error.show()


def main() -> None:
    """Run the command line; never a traceback for a user's fault."""
    open_closed_streams()
    reuse_memory()  # before there are threads
    try:
        # standalone_mode would exit inside click, before a full disk or a thread is handled.
        code = hmx.main(standalone_mode=False)
    except click.ClickException as error:
        _show(error)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        with suppress(OSError):
            click.echo("\nstopped. Run the same command again to go on.", err=True)
        code = 130
        _exit_while_computing()
    except OSError as error:  # help, to a full disk
        discard_stdout()
        _show(CommandFailure(f"standard output cannot be written: {error.strerror}.", 1))
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
