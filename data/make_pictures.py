"""Draw the README's pictures of the two demos: data/forecast.png and data/soc.png.

    python data/make_pictures.py     # a few minutes, of which the two fits take most

What the demos' catalogs make is made first where it is missing, and reused where it is current.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import hmx
from hmx.progress import Progress
from hmx.workflow import ensure_result

HERE = Path(__file__).resolve().parent
CATALOGS = HERE.parent / "catalogs"


def forecast() -> Figure:
    """Draw the forecast of the demo landscape."""
    catalog = hmx.Catalog.load(CATALOGS / "demo.yaml")
    made = ensure_result(catalog, Progress.console())
    return hmx.open_cube(made).hm.plot_forecast(hmx.open_cube(catalog.cube.path))


def soil() -> Figure:
    """Draw the map of the demo's samples."""
    catalog = hmx.MapCatalog.load(CATALOGS / "demo_soc.yaml")
    made = ensure_result(catalog, Progress.console())
    return hmx.open_cube(made).soc.plot_map(catalog.model_path)


if __name__ == "__main__":
    for name, draw in (("forecast", forecast), ("soc", soil)):
        draw().savefig(HERE / f"{name}.png", dpi=66, pil_kwargs={"optimize": True})
        print(HERE / f"{name}.png")
