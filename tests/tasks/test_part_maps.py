"""Part maps read at keypoints and as centres (golden/protocol/unsupervised_parts)."""

import numpy as np
import pytest
import scipy.special

from benchmarks.upsampling import upsample
from jaxpart.metrics.label_agreement import scores
from jaxpart.tasks.unsupervised_parts.part_maps import (
    centres,
    pixel_centres,
    shown_parts,
    values_at,
)


@pytest.fixture(scope="module")
def arrays(golden):
    return dict(np.load(golden / "protocol/unsupervised_parts.npz"))


@pytest.fixture(params=["cub_k4", "cub_k8"])
def case(arrays, request):
    return {
        name.removeprefix(f"{request.param}/"): array
        for name, array in arrays.items()
        if name.startswith(f"{request.param}/")
    }


def keypoints(case):
    landmarks = case["eval/landmarks"]
    image, point = np.nonzero(landmarks[..., 3] > 0.5)
    return image, point, landmarks[image, point, 1:3]


def test_parts_at_keypoints(case):
    size = tuple(case["image_size_HW"])
    image, point, xy = keypoints(case)
    np.testing.assert_array_equal(point, case["keypoint_true"])
    found = values_at(case["eval/maps"], image, xy, size).argmax(axis=1)
    np.testing.assert_array_equal(found, case["keypoint_part"])
    nmi, ari = scores(point, found)
    assert 100 * nmi == pytest.approx(float(case["nmi_percent"]), abs=1e-6)
    assert 100 * ari == pytest.approx(float(case["ari_percent"]), abs=1e-6)


@pytest.mark.parametrize("split", ["fit", "eval"])
def test_centres(case, split):
    maps, box = case[f"{split}/maps"][:, :-1], case[f"{split}/boxes"][:, None, 1:]
    found = (centres(maps, tuple(case["image_size_HW"])) - box[..., :2]) / box[..., 2:]
    expected = case[f"{split}/centers"].reshape(found.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(shown_parts(maps), case[f"{split}/active"][:, ::2])


@pytest.mark.slow
def test_unsup_parts(case):
    """Its notebook upsamples logits, and puts the background first."""
    size = tuple(case["image_size_HW"])
    maps = np.concatenate([case["fit/maps"], case["eval/maps"]])
    logits = np.log(maps[:, :-1] + np.float32(1e-6))
    upsampled = np.asarray(upsample(np.moveaxis(logits, 1, 3), size))
    foreground = np.kron(case["unsup/fg_cells"], np.ones((8, 8)))
    shares = scipy.special.softmax(np.moveaxis(upsampled, 3, 1), axis=1) * foreground[:, None]
    found = pixel_centres(shares)
    np.testing.assert_allclose(
        found.reshape(len(found), -1), case["unsup/centers_px"], rtol=1e-6, atol=1e-6
    )
    image, point, xy = keypoints(case)
    tested = slice(len(case["fit/maps"]), None)
    found = values_at(logits[tested], image, xy, size).argmax(axis=1)
    np.testing.assert_array_equal(found, case["unsup/part_no_bg"])
    assert 100 * scores(point, found)[0] == pytest.approx(float(case["unsup/fg_nmi_percent"]))
    whole = np.concatenate([1 - foreground[:, None], shares], axis=1)[tested]
    found = values_at(whole, image, xy, size).argmax(axis=1)
    np.testing.assert_array_equal(found, case["unsup/part_with_bg"])
    assert 100 * scores(point, found)[1] == pytest.approx(float(case["unsup/full_ari_percent"]))


def test_corners():
    """Half to even, points outside, and a part that is shown nowhere."""
    maps = np.zeros((1, 3, 2, 4))
    maps[0, 1, :, 2] = 1  # column 2 of 4
    maps[0, 2] = 0.25
    size = (2, 4)
    xy = [[2.5, 0.5], [3, 1], [2, 1], [-0.6, 0.5], [0.5, 2.6], [0, 0]]
    found = values_at(maps, np.zeros(6, int), xy, size).argmax(axis=1)
    assert found.tolist() == [1, 1, 1, 0, 0, 2]  # rint(2.5) is 2, rint(1.5) too
    np.testing.assert_array_equal(centres(maps, (4, 8))[0], [[3, 1], [4, 1], [3, 1]])
    assert shown_parts(maps).tolist() == [[False, True, False]]
