"""Laws of the area of applicability."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from hmx.errors import BadArgument, BundleError, NotEnoughData
from hmx.uncertainty.applicability import Applicability, Nearest

WEIGHTS = np.array([2.0, 1.0, 0.5, 0.0])


def samples(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(n, 4)) * [1, 10, 0.1, 5] + [0, 300, 0, 5], np.arange(n) % 5


def fitted() -> Applicability:
    return Applicability.fit(*samples(), WEIGHTS)


def by_hand(x: np.ndarray, new: np.ndarray) -> np.ndarray:
    scale = WEIGHTS / x.std(axis=0)
    z, at = x * scale, new * scale
    return cdist(at, z).min(axis=1) / pdist(z).mean()


def test_the_index_is_that_of_the_paper() -> None:
    x, _ = samples()
    new, _ = samples(3000, 1)
    np.testing.assert_allclose(fitted()(new), by_hand(x, new), rtol=2e-4)


def test_a_training_sample_is_no_different_from_itself() -> None:
    assert fitted()(samples()[0]).max() < 1e-6


def test_the_threshold_is_the_upper_whisker_over_folds() -> None:
    x, folds = samples()
    scale = WEIGHTS / x.std(axis=0)
    z = x * scale
    di = np.array([cdist(z[i : i + 1], z[folds != folds[i]]).min() for i in range(len(z))])
    di /= pdist(z).mean()
    low, high = np.quantile(di, [0.25, 0.75])
    assert fitted().threshold == pytest.approx(di[di <= high + 1.5 * (high - low)].max(), rel=1e-4)
    assert fitted().threshold < di.max()  # this world has outliers


def test_land_like_no_sample_lies_outside() -> None:
    area, (new, _) = fitted(), samples(500, 2)
    assert (area(new) <= area.threshold).mean() > 0.85
    assert (area(new + np.array([8, 0, 0, 0])) > area.threshold).all()


def test_a_band_of_no_importance_excludes_no_land() -> None:
    area, (new, _) = fitted(), samples(50, 2)
    np.testing.assert_array_equal(area(new), area(new + np.array([0, 0, 0, 1e4])))
    below_zero = Applicability.fit(*samples(), WEIGHTS - [0, 0, 0, 3])
    np.testing.assert_array_equal(area(new), below_zero(new))


def test_folds_that_are_further_apart_let_the_map_go_further() -> None:
    x, folds = samples()
    apart = np.digitize(x[:, 0], np.quantile(x[:, 0], [0.2, 0.4, 0.6, 0.8]))
    near = Applicability.fit(x, folds, WEIGHTS).threshold
    assert Applicability.fit(x, apart, WEIGHTS).threshold > 1.2 * near


def test_a_map_is_its_pixels_and_gaps_stay_gaps() -> None:
    area, (new, _) = fitted(), samples(12, 3)
    raster = new.T.reshape(4, 3, 4).copy()
    raster[1, 0, 2] = np.nan
    found = area(raster)
    expected = area(new).reshape(3, 4)
    expected[0, 2] = np.nan
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32


def test_constant_features_and_default_weights_are_fine() -> None:
    x, folds = samples()
    x[:, 3] = 7
    assert np.isfinite(Applicability.fit(x, folds)(x + 1)).all()


def test_saved_arrays_give_the_same_map() -> None:
    area, (new, _) = fitted(), samples(50, 3)
    again = Applicability.from_arrays(area.arrays())
    np.testing.assert_array_equal(area(new), again(new))
    assert again.threshold == area.threshold


def test_damaged_arrays_are_refused() -> None:
    for broken in ({"mean": np.zeros(3)}, {"numbers": np.zeros(1)}):
        with pytest.raises(BundleError, match="the area of applicability of this model is damaged"):
            Applicability.from_arrays({**fitted().arrays(), **broken})


def test_another_number_of_features_is_refused() -> None:
    with pytest.raises(BadArgument, match=r"features \(5, 3\) do not fit .* has 4\."):
        fitted()(np.zeros((5, 3)))


def test_one_fold_or_samples_that_are_all_alike_are_refused() -> None:
    x, folds = samples()
    with pytest.raises(NotEnoughData, match=r"200 samples in 1 fold\(s\)"):
        Applicability.fit(x, 0 * folds)
    with pytest.raises(NotEnoughData, match="features that differ"):
        Applicability.fit(0 * x, folds)


@pytest.mark.parametrize("kind", ["clumps", "noise", "one feature", "repeated"])
def test_no_sample_that_is_nearer_is_left_out(kind: str) -> None:
    draw = np.random.default_rng(5)
    centres = draw.normal(size=(30, 12)) * 4
    known, new = (
        {
            "clumps": centres[draw.integers(30, size=n)] + draw.normal(size=(n, 12)) + 1000,
            "noise": draw.normal(size=(n, 12)),
            "one feature": draw.normal(size=(n, 1)),
            "repeated": np.repeat(draw.normal(size=(n // 100, 3)), 100, axis=0),
        }[kind].astype("float32")
        for n in (3000, 2500)
    )
    found = Nearest.of(known).distances(new)
    wanted = cdist(new.astype("float64"), known.astype("float64")).min(axis=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(Nearest.of(known).distances(new[:7]), found[:7])
    assert Nearest.of(known).distances(known).max() == 0
