"""Laws of the spatial split."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmx.folds import (
    CALIBRATION,
    ROLES,
    TRAIN,
    UNUSED,
    VALIDATION,
    block_side,
    deal,
    interior,
)
from hmx.windows import Span, Window

SHARES = {VALIDATION: 0.1, CALIBRATION: 0.2}
SHARE = st.floats(0, 0.49)


@st.composite
def dealt(draw):
    """Counts, and the split they were dealt into."""
    shape, block = (draw(st.integers(1, 40)), draw(st.integers(1, 40))), draw(st.integers(1, 15))
    size = tuple(-(-n // block) for n in shape)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    counts = rng.integers(1, 50, size) * (rng.random(size) < draw(st.sampled_from([0.3, 0.9, 1])))
    shares = {VALIDATION: draw(SHARE), CALIBRATION: draw(SHARE)}
    split = deal(counts, shape, block=block, shares=shares, seed=draw(st.integers(0, 9)))
    return counts, shares, split


@given(dealt())
def test_a_block_has_a_role_exactly_where_there_is_data(case):
    counts, _, split = case
    assert ((split.table == UNUSED) == (counts == 0)).all()
    assert set(np.unique(split.table)) <= {*ROLES, UNUSED}


@given(dealt())
def test_every_role_with_a_share_has_a_block_as_long_as_one_is_left_to_train_on(case):
    counts, shares, split = case
    blocks = (counts > 0).sum()
    wanted = [role for role, share in shares.items() if share > 0]
    have = [role for role in wanted if (split.table == role).any()]
    assert len(have) >= min(len(wanted), blocks - 1)
    assert not any((split.table == role).any() for role in shares if role not in wanted)
    assert (split.table == TRAIN).any() == (blocks > 0)


def test_roles_get_their_share_of_the_blocks():
    counts = np.ones((20, 20), int)
    table = deal(counts, (200, 200), block=10, shares=SHARES, seed=3).table
    assert [(table == role).sum() for role in (TRAIN, VALIDATION, CALIBRATION)] == [280, 40, 80]


@given(dealt())
def test_roles_of_pixels_agree_with_windows_of_roles(case):
    _, _, split = case
    expected = np.full(split.shape, UNUSED, "uint8")
    for role in ROLES:
        for window in split.windows(role):
            assert (expected[window.slices] == UNUSED).all()
            expected[window.slices] = role
    assert (split.roles(Window.of(split.shape)) == expected).all()


@given(dealt(), st.data())
def test_roles_of_a_window_are_the_crop_of_all_roles(case, data):
    _, _, split = case
    ends = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in split.shape]
    window = Window(*(Span(*pair) for pair in ends))
    assert (split.roles(window) == split.roles(Window.of(split.shape))[window.slices]).all()


def test_a_deal_depends_on_its_seed_and_on_nothing_else():
    counts = np.random.default_rng(0).integers(0, 3, (9, 9))
    one, again, other = (
        deal(counts, (90, 90), block=10, shares=SHARES, seed=seed) for seed in (1, 1, 2)
    )
    assert one == again
    assert one.digest == again.digest
    assert one.digest != other.digest
    assert (one.table != other.table).any()


def test_only_where_data_is_matters_not_how_much():
    counts = np.random.default_rng(0).integers(0, 3, (9, 9))
    one, other = (
        deal(c, (90, 90), block=10, shares=SHARES, seed=1) for c in (counts, counts * 100)
    )
    assert one == other


def test_every_process_finds_the_same_split():
    code = (
        "import numpy as np; from hmx.folds import deal;"
        "print(deal(np.arange(81).reshape(9, 9) % 5, (90, 90), block=10,"
        " shares={1: 0.1, 2: 0.2}, seed=7).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1")
    }
    here = deal(np.arange(81).reshape(9, 9) % 5, (90, 90), block=10, shares=SHARES, seed=7)
    assert digests == {here.digest}
    assert len(here.digest) == 16


def test_a_digest_tells_apart_splits_of_other_shape_or_block():
    table = np.ones((2, 2), int)
    digests = {
        deal(table, shape, block=block, shares=SHARES, seed=0).digest
        for shape, block in [((20, 20), 10), ((19, 20), 10), ((20, 20), 11)]
    }
    assert len(digests) == 3


def test_a_cube_without_data_has_no_block():
    split = deal(np.zeros((3, 3), int), (30, 30), block=10, shares=SHARES, seed=0)
    assert all(split.windows(role) == [] for role in ROLES)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_the_last_block_is_left_to_train_on(blocks):
    counts = np.zeros((3, 3), int)
    counts.flat[:blocks] = 5
    split = deal(counts, (30, 30), block=10, shares={1: 0.4, 2: 0.4}, seed=0)
    found = [len(split.windows(role)) for role in (TRAIN, VALIDATION, CALIBRATION)]
    assert found == [[1, 0, 0], [1, 1, 0], [1, 1, 1]][blocks - 1]


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(8, 500))
def test_a_block_is_as_wanted_or_small_enough_for_each_role_to_have_some(rows, cols, wanted):
    side = block_side((rows, cols), wanted)
    assert 1 <= side <= wanted
    assert side in (wanted, 1) or rows * cols / side**2 >= 20
    assert side == wanted or rows * cols / (side + 1) ** 2 < 20


@given(st.data(), st.integers(0, 6), st.booleans())
def test_the_interior_is_out_of_reach_of_invented_borders(data, margin, wraps):
    outer = (20, 24)
    ends = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in outer]
    window = Window(*(Span(*pair) for pair in ends))
    inside = interior(window, outer, margin, wraps=wraps)
    for span, kept, size, closed in zip(
        (window.y, window.x), (inside.y, inside.x), outer, (True, not wraps), strict=True
    ):
        for pixel in range(len(span)):
            low = pixel >= margin or (closed and span.start == 0)
            high = len(span) - 1 - pixel >= margin or (closed and span.stop == size)
            assert (kept.start <= pixel < kept.stop) == (low and high)


def test_a_cube_without_edges_in_x_is_cut_there_too():
    whole = Window.of((20, 36))
    assert interior(whole, (20, 36), 3, wraps=False) == whole
    assert interior(whole, (20, 36), 3, wraps=True) == Window(Span(0, 20), Span(3, 33))


def test_a_window_smaller_than_the_margins_has_no_interior():
    small = Window(Span(10, 14), Span(10, 14))
    assert interior(small, (40, 40), 3, wraps=False).shape == (0, 0)
