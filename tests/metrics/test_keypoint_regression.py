"""Keypoint regression against PDiscoNet's and SCOPS's (golden/protocol/unsupervised_parts)."""

import numpy as np
import pytest

from jaxpart.metrics.keypoint_regression import keypoint_errors, landmark_errors


@pytest.fixture(scope="module")
def arrays(golden):
    return dict(np.load(golden / "protocol/unsupervised_parts.npz"))


def split(arrays, case, name):
    """Centres, points, visibility and activity of a split, in shares of the box."""
    landmarks = arrays[f"{case}/{name}/landmarks"].astype(np.float64)
    box = arrays[f"{case}/{name}/boxes"].astype(np.float64)[:, None, 1:]
    centres = arrays[f"{case}/{name}/centers"]
    return (
        centres.reshape(len(centres), -1, 2),
        (landmarks[..., 1:3] - box[..., :2]) / box[..., 2:],
        landmarks[..., 3] > 0.5,
        arrays[f"{case}/{name}/active"][:, ::2],
    )


@pytest.mark.parametrize("case", ["cub_k4", "cub_k8"])
def test_golden_keypoints(arrays, case):
    *fit, fit_active = split(arrays, case, "fit")
    *measured, active = split(arrays, case, "eval")
    errors = 100 * keypoint_errors(*fit, *measured, fit_active=fit_active, active=active)
    assert np.nanmean(errors) == pytest.approx(float(arrays[f"{case}/kpr_percent"]), abs=1e-6)
    np.testing.assert_allclose(
        np.nanmean(errors, axis=0), arrays[f"{case}/kpr_percent_per_landmark"], rtol=0, atol=1e-5
    )  # centres were float32 in between
    np.testing.assert_array_equal(~np.isnan(errors), measured[2])
    everything = 100 * np.nanmean(keypoint_errors(*fit, *measured))
    assert everything == pytest.approx(float(arrays[f"{case}/kpr_percent_all_parts"]), abs=1e-6)


def test_golden_faces(arrays):
    fit, measured = (
        (arrays[f"faces/{name}_pred"], arrays[f"faces/{name}_gt"]) for name in ("train", "test")
    )
    for of, name in ((fit, "train"), (measured, "test")):
        error = landmark_errors(*fit, *of).mean(axis=1).mean()
        assert error == pytest.approx(float(arrays[f"faces/{name}_error"]), abs=1e-9)


def test_a_part_that_stays_in_one_place_in_training_predicts_nothing():
    random = np.random.default_rng(0)
    fit_centres, centres = random.random((2, 50, 3, 2))
    fit_centres[:, 2] = 0.37, 0.1  # whose standard deviations are not 0 after rounding
    weights = random.normal(size=(4, 2))
    fit_points, points = (c[:, :2].reshape(50, 4) @ weights for c in (fit_centres, centres))
    seen = np.ones((50, 1), bool)
    errors = keypoint_errors(fit_centres, fit_points[:, None], seen, centres, points[:, None], seen)
    assert errors.max() < 1e-9


def test_corners():
    """A constant part, a keypoint that nothing shows, and one that only the fit shows."""
    rng = np.random.default_rng(0)
    centres = rng.random((20, 2, 2))
    points = np.stack([centres.sum(axis=1) / 2, centres[:, 0], centres[:, 1]], axis=1)
    centres = np.concatenate([centres, np.full((20, 1, 2), 0.5)], axis=1)
    visible = np.ones((20, 3), bool)
    visible[:, 1] = False
    asked = visible.copy()
    asked[:, 2] = False
    errors = keypoint_errors(centres, points, visible, centres, points, asked)
    np.testing.assert_allclose(errors[:, 0], 0, atol=1e-12)
    assert np.isnan(errors[:, 1:]).all()
