"""The ``hmx`` command: loads nothing heavy until a command needs it."""

from __future__ import annotations

import sys

import click

from hmx.cli.forecast import forecast
from hmx.cli.info import info
from hmx.cli.ingest import ingest
from hmx.cli.plan import plan
from hmx.cli.train import train
from hmx.cli.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="hmx", prog_name="hmx")
def hmx() -> None:
    """Forecast raster time series: seamless tiles, true grids, honest intervals.

    Every command takes a catalog, a YAML file that says what to read, fit and
    write, builds what it needs and is missing, and reuses what is there. Try
    hmx forecast catalogs/demo.yaml.
    """


for command in (ingest, train, plan, forecast, verify, info):
    hmx.add_command(command)


def main() -> None:
    """Run the command line; never a traceback for a user's fault."""
    try:
        code = hmx.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nstopped. Run the same command again to go on.", err=True)
        code = 130
    sys.exit(code if isinstance(code, int) else 0)
