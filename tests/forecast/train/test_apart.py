"""Laws of losses computed chip by chip: the sum is that of the batch, whatever the threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from hmx.forecast.train.losses import Share, summed
from hmx.hardware import _libraries, in_threads, matrix_threads


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


class Library:
    """A library of matrices, such as NumPy's, that shows its number of threads."""

    def __init__(self) -> None:
        self.num_threads, self._before, self.lib_controllers = 8, 8, [self]

    def limit(self, *, limits: int) -> Library:
        self._before, self.num_threads = self.num_threads, limits
        return self

    def restore_original_limits(self) -> None:
        self.num_threads = self._before


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    found = Library()
    monkeypatch.setattr("hmx.hardware._libraries", lambda with_scipy: found)
    return found


def test_products_of_items_share_the_threads_too(threads: int, library: Library) -> None:
    seen = list(in_threads(lambda _: library.num_threads, range(5)))
    assert seen == [8 if threads == 1 else 1] * 5  # with one thread there is nothing to share
    assert library.num_threads == 8


def test_the_first_to_enter_decides_and_the_last_gives_back(library: Library) -> None:
    first, second = matrix_threads(1), matrix_threads(2)
    first.__enter__()
    second.__enter__()
    assert library.num_threads == 1
    first.__exit__(None, None, None)
    assert library.num_threads == 1
    second.__exit__(None, None, None)
    assert library.num_threads == 8


def test_a_session_that_allows_fewer_threads_keeps_its_number(library: Library) -> None:
    library.num_threads = 2
    with matrix_threads(4):
        assert library.num_threads == 2


def test_the_libraries_of_this_process_are_found() -> None:
    kinds = [library.user_api for library in _libraries(False).lib_controllers]
    assert set(kinds) == {"blas"}


def test_an_error_of_an_item_is_that_of_the_caller(threads: int, library: Library) -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda item: 1 / item, [2, 1, 0]))
    assert library.num_threads == 8
