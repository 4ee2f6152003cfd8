"""``hmx guide``: pages about a topic, shipped with the package."""

from __future__ import annotations

from pathlib import Path

import click

from hmx import errors
from hmx.cli.failing import Command, out
from hmx.errors import did_you_mean


@click.command(
    cls=Command, examples=("hmx guide", "hmx guide rasters", "hmx guide inputs > inputs.md")
)
@click.argument("topic", required=False)
def guide(topic: str | None) -> None:
    """Show the guide page of TOPIC, or where to start and which topics there are.

    Pages are Markdown, so they also read well in an editor.
    """
    pages = {
        page.name.removesuffix(".md"): page
        # beside a module: in the folder of a clone, "hmx" is the clone
        for page in Path(errors.__file__).with_name("guide").iterdir()
        if page.name.endswith(".md")
    }
    name = (topic or "index").lower().removesuffix(".md")
    if name not in pages:
        raise click.UsageError(
            f"there is no guide page {topic!r} (topics: {', '.join(sorted(pages))})."
            f"{did_you_mean(name, pages)}"
        )
    # out adds the last end of line.
    out(pages[name].read_text(encoding="utf-8").rstrip("\n"))
