"""Laws of losses computed chip by chip: the sum is that of the batch, whatever the threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from hmx.forecast.train.losses import Share, summed
from hmx.hardware import in_threads


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def made() -> tuple[Tensor, Tensor, list[Tensor]]:
    torch.manual_seed(0)
    weight, unused = (torch.randn(9, 5).requires_grad_() for _ in range(2))
    return weight, unused, [torch.randn(5, 300) for _ in range(4)]


def test_a_sum_has_the_gradients_of_its_parts_whatever_the_threads(threads: int) -> None:
    weight, unused, parts = made()

    def share(part: Tensor) -> Share:
        value = (weight @ part).sin().square().sum()
        return Share(
            value.detach(), torch.autograd.grad(value, [weight, unused], allow_unused=True)
        )

    total = 2 * summed(in_threads(share, parts), [weight, unused])
    gradients = torch.autograd.grad(total, [weight, unused])
    torch.set_num_threads(1)
    singly = torch.zeros_like(weight)
    for part in parts:
        singly += share(part).gradients[0]  # type: ignore[operator]
    assert torch.equal(gradients[0], 2 * singly)
    assert not gradients[1].any()
    plain = sum((share(part).loss for part in parts), torch.zeros(()))
    torch.testing.assert_close(total, 2 * plain)


def test_parts_without_gradients_add_to_the_sum(threads: int) -> None:
    weight, _, parts = made()
    total = summed(in_threads(lambda part: Share(part.sum()), parts), [weight])
    torch.testing.assert_close(total, torch.stack(parts).sum())
    assert not torch.autograd.grad(total, weight)[0].any()


def test_items_share_the_threads_and_keep_their_order(threads: int) -> None:
    found = list(in_threads(lambda item: (item, torch.get_num_threads()), range(7)))
    assert [item for item, _ in found] == list(range(7))
    assert {count for _, count in found} == {1}
    assert torch.get_num_threads() == threads
    assert list(in_threads(lambda _: torch.get_num_threads(), [0])) == [threads]


def test_an_error_of_an_item_is_that_of_the_caller(threads: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda item: 1 / item, [2, 1, 0]))
