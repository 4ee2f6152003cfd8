"""Laws of the score that networks are trained on: its slopes are those of its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hmx.networks.options import KNOTS
from hmx.networks.quantile import crps
from hmx.scores.quantile import crps as scored


def cases(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Quantile functions, (h, q, y, x), and truths below, inside, between and above them."""
    draw = torch.Generator().manual_seed(0)
    values = torch.randn((2, len(KNOTS), 6, 9), generator=draw, dtype=dtype).sort(dim=1).values
    values[:, 3:7, 2] = values[:, 3:4, 2]  # a point mass inside
    values[:, :, 3] = values[:, :1, 3]  # nothing but a point mass
    truth = 2 * torch.randn((2, 6, 9), generator=draw, dtype=dtype)
    truth[:, 2, :4], truth[:, 3, :4] = values[:, 3, 2, :4], values[:, 3, 3, :4]
    return values, truth


def test_the_score_of_training_is_that_of_scorecards() -> None:
    values, truth = cases()
    for lead in range(2):
        want = scored(truth[lead].numpy(), values[lead].numpy(), np.array(KNOTS))
        np.testing.assert_allclose(crps(values, truth, KNOTS)[lead].numpy(), want, atol=1e-12)


def test_slopes_are_those_of_the_score() -> None:
    values, truth = cases()
    values = values[:, :, [0, 1, 4, 5]] + 1e-3 * torch.arange(len(KNOTS))[:, None, None]
    truth = truth[:, [0, 1, 4, 5]] + 1e-4  # no knot is at the truth, where a score has a corner
    given = (values.requires_grad_(), truth.requires_grad_())
    assert torch.autograd.gradcheck(lambda v, y: crps(v, y, KNOTS), given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slopes_of_a_certain_truth_are_those_of_values_above_it(dtype: torch.dtype) -> None:
    """Where all knots and the truth are one number, as where nothing ever changes."""
    same = torch.full((len(KNOTS), 1, 1), 0.3, dtype=dtype, requires_grad=True)
    (there,) = torch.autograd.grad(crps(same, same.detach()[0], KNOTS).sum(), same)
    above = (same.detach() + 0.1).requires_grad_()
    (beyond,) = torch.autograd.grad(crps(above, same.detach()[0], KNOTS).sum(), above)
    # the tails have a corner of their own at the truth: they are flat there
    torch.testing.assert_close(there[1:-1], beyond[1:-1])
    assert torch.isfinite(there).all()
