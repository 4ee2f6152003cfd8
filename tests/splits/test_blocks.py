"""Laws of the spatial split."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmx.errors import BadArgument, NotEnoughData
from hmx.splits import (
    BLOCK,
    CALIBRATION,
    ROLES,
    TEST,
    TRAIN,
    UNUSED,
    VALIDATION,
    Folds,
    Split,
    block_side,
    choose_block,
    deal,
    interior,
)
from hmx.windows import Span, Window

SHARES = {VALIDATION: 0.1, CALIBRATION: 0.2}
SHARE = st.floats(0, 0.49)
DIGEST = "de61d5576ee2cf00"


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
        "import numpy as np; from hmx.splits import Folds, deal;"
        "of = dict(block=10, shares={1: 0.1, 2: 0.2}, seed=7, buffer=2, wraps=True);"
        "counts = np.arange(81).reshape(9, 9) % 5;"
        "print(deal(counts, (90, 90), **of).digest, Folds.deal(counts, (90, 90), k=3, **of).digest)"
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
    of = {"block": 10, "shares": SHARES, "seed": 7, "buffer": 2, "wraps": True}
    counts = np.arange(81).reshape(9, 9) % 5
    one, many = deal(counts, (90, 90), **of), Folds.deal(counts, (90, 90), k=3, **of)
    assert digests == {f"{one.digest} {many.digest}"}
    assert len(one.digest) == len(many.digest) == 16


def test_the_digest_of_a_split_without_buffer_is_what_it_was_before_there_were_any():
    assert deal(np.ones((2, 2), int), (20, 20), block=10, shares=SHARES, seed=0).digest == DIGEST


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


@st.composite
def buffered(draw):
    """A split with any roles, a buffer and, at times, no edge in x."""
    shape, block = (draw(st.integers(1, 25)), draw(st.integers(1, 25))), draw(st.integers(1, 9))
    size = tuple(-(-n // block) for n in shape)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    table = rng.choice([*ROLES, UNUSED], size, p=[0.6, 0.1, 0.1, 0.1, 0.1])
    rows = tuple(tuple(int(role) for role in row) for row in table)
    return Split(shape, block, rows, draw(st.integers(0, 12)), draw(st.booleans()))


def slowly(split: Split) -> np.ndarray:
    """Roles by the rule as it is told: look at every pixel within the buffer."""
    ny, nx = split.shape
    block = [
        [split.table[y // split.block, x // split.block] for x in range(nx)] for y in range(ny)
    ]
    roles = np.array(block)
    for y in range(ny):
        for x in range(nx):
            reach = range(-split.buffer, split.buffer + 1)
            cols = [(x + d) % nx if split.wraps else x + d for d in reach]
            near = [block[y + d][c] for d in reach for c in cols if 0 <= y + d < ny and 0 <= c < nx]
            if any(role > block[y][x] for role in near if role != UNUSED):
                roles[y, x] = UNUSED
    return roles


@given(buffered())
@settings(max_examples=150, deadline=None)
def test_a_pixel_is_unused_exactly_where_a_higher_role_is_within_the_buffer(split):
    roles = split.roles(Window.of(split.shape))
    assert roles.dtype == np.uint8
    assert (roles == slowly(split)).all()
    assert split.areas() == {role: (roles == role).sum() for role in (*ROLES, UNUSED)}


@given(buffered(), st.data())
@settings(deadline=None)
def test_buffers_of_a_window_are_the_crop_of_all_buffers_also_round_the_globe(split, data):
    whole, (ny, nx) = split.roles(Window.of(split.shape)), split.shape
    ends = sorted(data.draw(st.tuples(*[st.integers(0, ny)] * 2)))
    low, high = (-nx, 2 * nx) if split.wraps else (0, nx)
    window = Window(Span(*ends), Span(*sorted(data.draw(st.tuples(*[st.integers(low, high)] * 2)))))
    cols = np.arange(window.x.start, window.x.stop) % nx
    assert (split.roles(window) == whole[window.y.slice][:, cols]).all()


def test_no_truth_within_the_buffer_of_a_test_pixel_is_ever_learned():
    split = deal(np.ones((6, 6)), (60, 60), block=10, shares={TEST: 0.2}, seed=1, buffer=4)
    roles = split.roles(Window.of(split.shape))
    test, train = (np.argwhere(roles == role) for role in (TEST, TRAIN))
    gap = np.abs(test[:, None] - train[None]).max(axis=2)
    assert gap.min() == 5  # and no farther than asked for


def test_a_globe_keeps_its_buffer_across_the_date_line():
    blocks = ((TEST, TRAIN, TRAIN),)
    flat, globe = (Split((10, 30), 10, blocks, 3, wraps) for wraps in (False, True))
    assert (flat.roles(Window.of((10, 30)))[:, 27:] == TRAIN).all()
    assert (globe.roles(Window.of((10, 30)))[:, 27:] == UNUSED).all()
    assert (globe.roles(Window.of((10, 30)))[:, 13:27] == TRAIN).all()


def test_roles_of_a_window_of_the_globe_take_the_memory_of_a_window():
    counts = np.ones((268, 625))
    split = deal(counts, (17_111, 40_000), block=64, shares=SHARES, seed=0, buffer=9, wraps=True)
    window = Window(Span(9000, 9512), Span(-50, 462))
    tracemalloc.start()
    roles = split.roles(window)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert roles.shape == (512, 512)
    assert peak < 16 << 20


def test_a_buffer_that_leaves_nothing_is_refused_with_what_to_type():
    def dealt(block, buffer):
        size = -(-60 // block)
        counts = np.ones((size, size))
        return deal(counts, (60, 60), block=block, shares={TEST: 0.5}, seed=0, buffer=buffer)

    with pytest.raises(NotEnoughData, match=r"buffer=12 px leaves no pixel for train.*block=36.*"):
        dealt(6, 12)
    with pytest.raises(NotEnoughData, match=r"or buffer=2\."):
        dealt(6, 12)
    assert dealt(6, 2).areas()[TRAIN] > 0


@pytest.mark.parametrize("role", [VALIDATION, CALIBRATION])
def test_a_buffer_that_swallows_a_held_out_role_is_refused_too(role):
    counts = np.array([[5, 5, 0, 0, 0, 0, 5]])
    seeds, refused = range(20), 0
    for seed in seeds:
        shares = {role: 0.3, TEST: 0.3}
        try:
            split = deal(counts, (4, 28), block=4, shares=shares, seed=seed, buffer=4)
        except NotEnoughData as error:
            refused += ROLES[role] in str(error)
        else:
            assert split.areas()[role] > 0
    assert 0 < refused < 20


def test_a_negative_buffer_is_refused():
    with pytest.raises(BadArgument, match=r"buffer=-1: a buffer is 0 px or more"):
        Split((4, 4), 4, ((0,),), -1)


def test_a_split_reads_back_from_json_as_itself():
    of = {"block": 7, "shares": {**SHARES, TEST: 0.2}, "seed": 3, "buffer": 2, "wraps": True}
    counts = np.random.default_rng(0).integers(0, 3, (9, 10))
    split = deal(counts, (60, 70), **of)
    again = Split.from_dict(json.loads(json.dumps(split.as_dict())))
    assert again == split
    assert again.digest == split.digest


def test_a_saved_split_that_was_changed_is_refused():
    saved = deal(np.ones((3, 3)), (30, 30), block=10, shares=SHARES, seed=0).as_dict()
    rows = ["xxx", *saved["roles"][1:]]
    for change in ({"roles": rows}, {"buffer": 3}, {"shape": [30, 50]}, {"digest": "0"}):
        with pytest.raises(BadArgument, match=r"(saved as \w+ reads as|cannot read).* split again"):
            Split.from_dict(saved | change)
    for change in ({"roles": ["q"]}, {"block": "wide"}, {"shape": None}):
        with pytest.raises(BadArgument, match=r"cannot read the split .*as_dict"):
            Split.from_dict(saved | change)
    with pytest.raises(BadArgument, match="cannot read the split"):
        Split.from_dict({})


def test_a_digest_tells_apart_buffers():
    ones = np.ones((3, 3))
    digests = {
        deal(ones, (60, 60), block=20, shares=SHARES, seed=0, buffer=b, wraps=w).digest
        for b, w in [(0, False), (0, True), (1, False), (1, True), (2, False)]
    }
    assert len(digests) == 4  # without a buffer, wrapping decides nothing


@st.composite
def folded(draw):
    k, size = draw(st.integers(2, 6)), (draw(st.integers(2, 7)), draw(st.integers(3, 7)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    counts = rng.integers(0, 50, size)
    counts.flat[:k] = 9
    shape, seed = (size[0] * 10, size[1] * 10), draw(st.integers(0, 9))
    return counts, Folds.deal(counts, shape, k=k, block=10, shares=SHARES, seed=seed, buffer=1)


@given(folded())
def test_every_block_with_data_is_the_test_exactly_once(case):
    counts, folds = case
    tested = sum((split.table == TEST).astype(int) for split in folds)
    assert (tested == (counts > 0)).all()
    for split in folds:
        assert ((split.table == UNUSED) == (counts == 0)).all()
        assert (split.table == TRAIN).any()


@given(folded())
def test_folds_hold_as_many_pixels_to_within_one_block(case):
    counts, folds = case
    held = [counts[split.table == TEST].sum() for split in folds]
    assert max(held) - min(held) <= counts.max()


def test_a_fold_with_one_full_block_gets_fewer_of_the_others():
    counts = np.array([[10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]])
    folds = Folds.deal(counts, (10, 110), k=2, block=10, shares={}, seed=0)
    assert [counts[split.table == TEST].sum() for split in folds] == [10, 10]


def test_validation_and_calibration_get_their_shares_of_what_the_fold_leaves():
    folds = Folds.deal(np.ones((10, 10)), (100, 100), k=5, block=10, shares=SHARES, seed=0)
    assert len(folds) == 5
    for split in folds:
        found = [(split.table == role).sum() for role in ROLES]
        assert found == [56, 8, 16, 20]
    drawn = [np.argwhere(split.table == VALIDATION).tolist() for split in folds]
    assert drawn[0] != drawn[1]


def test_folds_depend_on_their_seed_and_on_nothing_else():
    def dealt(seed):
        of = {"k": 4, "block": 10, "shares": SHARES}
        return Folds.deal(np.ones((9, 9)), (90, 90), seed=seed, **of)

    assert dealt(1) == dealt(1)
    assert dealt(1).digest != dealt(2).digest
    assert dealt(1)[0].digest != dealt(1)[1].digest


def test_folds_that_cannot_be_are_refused():
    of = {"block": 10, "seed": 0, "shares": SHARES}
    with pytest.raises(BadArgument, match=r"k=1: .* at least 2 folds.*Pass k=5"):
        Folds.deal(np.ones((3, 3)), (30, 30), k=1, **of)
    with pytest.raises(BadArgument, match="shares hold TEST"):
        Folds.deal(np.ones((3, 3)), (30, 30), k=2, **of | {"shares": {TEST: 0.1}})
    with pytest.raises(NotEnoughData, match=r"3 blocks of 10 px hold data, and k=4 folds"):
        Folds.deal(np.eye(3), (30, 30), k=4, **of)


def test_a_block_is_given_in_pixels_or_metres_or_follows_from_the_correlation():
    roomy, pixel = (2000, 2000), (300.0, 200.0)
    assert choose_block(roomy, pixel) == BLOCK
    assert choose_block(roomy, pixel, block=70) == 70
    assert choose_block(roomy, pixel, block_m=20_000) == 100
    assert choose_block(roomy, pixel, block_m=20_001) == 101  # never less than asked for
    assert choose_block(roomy, pixel, correlation_m=2_000) == 30
    assert choose_block(roomy, pixel, correlation_m=0) == 3  # a pixel is the least length
    assert choose_block(roomy, pixel, block=70, correlation_m=2_000) == 70
    assert choose_block((100, 100), pixel, block_m=1e6) == block_side((100, 100), 5000) == 22


def test_a_block_that_cannot_be_is_refused():
    with pytest.raises(BadArgument, match=r"block=9 and block_m=300 both give the side"):
        choose_block((99, 99), (30.0, 30.0), block=9, block_m=300)
    with pytest.raises(BadArgument, match=r"block_m=0: a block has a side above 0"):
        choose_block((99, 99), (30.0, 30.0), block_m=0)


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
