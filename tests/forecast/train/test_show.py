"""Laws of the panel of a fit: it shows the model that is saved, and what it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.forecast.train import train as training
from hmx.pictures.panel import PanelRow, draw_panel
from hmx.splits import TEST
from hmx.splits.blocks import Split


@pytest.mark.parametrize("test", [0.25, 0.0])
def test_the_panel_shows_the_saved_model_on_blocks_it_has_not_seen(
    cube: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test: float
) -> None:
    drawn: list[tuple[Sequence[PanelRow], str]] = []

    def keep(rows: Sequence[PanelRow], *, title: str, **options: Any) -> Any:
        drawn.append((rows, title))
        return draw_panel(rows, title=title, **options)

    monkeypatch.setattr(training, "draw_panel", keep)
    ds = cube.isel(y=slice(72), x=slice(72))
    ds["hm"] = ds["hm"].assign_attrs(long_name="human modification")
    options = {"width": 4, "trunk": (1,), "context": (1,), "steps": 2, "chip": 48, "lr": 0.05}
    model = ds.hm.train(
        static=[], history=2, h=2, epochs=2, test=test, out=tmp_path / "m.model", **options
    )
    ((rows, title),) = drawn
    # two leads before the end; the network before the last fit has other weights
    past = ds.isel(time=slice(None, -2)).hm.forecast(h=2, model=model)["hm"]
    for row in rows:
        np.testing.assert_allclose(row.forecast, past[row.lead - 1], atol=1e-5)
    assert title.startswith("human modification: the saved model, from 2005")
    if test:
        split = Split.from_dict(model.training["roles"])
        roles = split.roles_at(*(np.arange(n) for n in split.shape))
        for row in rows:
            assert row.unseen is not None
            np.testing.assert_array_equal(row.unseen, roles == TEST)
            assert row.valid == int((np.isfinite(row.truth + row.origin) & row.unseen).sum())
        assert title.endswith("on blocks it has not seen")
    else:
        assert all(row.unseen is None for row in rows)
        assert "a fit, not a test" in title
        assert rows[0].note.startswith("unseen, before\nthe last fit:\nCRPS skill ")
    assert isinstance(hmx.load(tmp_path / "m.model"), hmx.Bundle)
