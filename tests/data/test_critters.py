"""Version 1 of the drawn data set: the same everywhere, and parts that are not objects."""

import collections
import functools
import hashlib
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxpart.data.critters import CRITTER_PARTS, Critters
from jaxpart.data.critters.species import MASK_PARTS, NAMES, PARTS, variant, variant_index
from jaxpart.data.parts import part_patches
from jaxpart.errors import JaxpartError

KINDS = range(len(NAMES))
drawn = functools.partial(Critters, version=1)


def digest(indices, workers_seed=0):
    critters = drawn("train", 100, seed=workers_seed)
    return [hashlib.sha256(critters[i].image).hexdigest() for i in indices]


def test_same_picture_in_any_order_and_process():
    forward = digest(range(10))
    assert digest(reversed(range(10))) == forward[::-1]
    code = (
        "import hashlib; from jaxpart.data.critters import Critters; "
        "drawn = Critters('train', 5000, version=1); "
        "print([hashlib.sha256(drawn[i].image).hexdigest() for i in range(10)])"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert eval(other.stdout) == forward
    assert not set(forward) & set(digest(range(10), workers_seed=1))


def test_places_are_pinned():
    """So that a change of the data set is seen, and told in its version."""
    keypoints = drawn("test", 30).annotation(29).keypoints
    assert keypoints.xy[:2].round(2).tolist() == PINNED


def test_every_variant_belongs_to_three_kinds_and_no_two_kinds_are_alike():
    looks = {kind: tuple(variant_index(kind, part) for part in MASK_PARTS) for kind in KINDS}
    assert len(set(looks.values())) == len(NAMES) >= 20
    for i, part in enumerate(MASK_PARTS):
        counts = collections.Counter(look[i] for look in looks.values())
        assert set(counts.values()) == {3}, part
        assert len({variant(kind, part) for kind in KINDS}) == 8
    # Two kinds that share a part differ in most others.
    for a in KINDS:
        for b in range(a):
            assert sum(x == y for x, y in zip(looks[a], looks[b], strict=True)) <= 3


def test_masks_keypoints_and_labels_agree():
    critters = drawn("train", 120)
    for i in range(len(critters)):
        image, part_mask, object_mask = critters.draw(i)
        annotation = critters.annotation(i)
        assert image.shape == (96, 96, 3)
        assert part_mask.max() <= len(MASK_PARTS)
        assert set(np.unique(object_mask)) <= {0, annotation.label + 1}
        np.testing.assert_array_equal(object_mask > 0, part_mask > 0)
        points = annotation.keypoints
        for part, (x, y), visible in zip(points.part, points.xy, points.visible, strict=True):
            if visible:
                assert part_mask[int(y), int(x)] == part
    labels = collections.Counter(critters.annotation(i).label for i in range(len(critters)))
    assert set(labels.values()) == {120 // len(NAMES)}


def test_occlusion_and_visibility_rates():
    critters = drawn("train", 300)
    visible = np.array([critters.annotation(i).keypoints.visible for i in range(300)]).mean(axis=0)
    assert (visible > 0.85).all()
    assert (visible < 1).any()


def test_record_is_the_drawing():
    critters = drawn("test", 3, image_size=64)
    record, drawing = critters[2], critters.draw(2)
    files = [record.image, record.masks["part"], record.masks["object"]]
    for data, array in zip(files, drawing, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), array)
    np.testing.assert_array_equal(
        record.annotation.keypoints.xy, critters.annotation(2).keypoints.xy
    )


def test_splits_share_nothing():
    train, test = (
        {hashlib.sha256(drawn(split, 50)[i].image).digest() for i in range(50)}
        for split in ("train", "test")
    )
    assert not train & test


@pytest.mark.parametrize("size", [64, 200])
def test_sizes_show_the_same_scene(size):
    small, large = drawn("train", 5), drawn("train", 5, image_size=size)
    np.testing.assert_allclose(
        small.annotation(4).keypoints.xy / 96, large.annotation(4).keypoints.xy / size
    )
    assert large.draw(4).image.shape == (size, size, 3)


def test_part_patches_of_critters():
    patches = part_patches(drawn("test", 60), CRITTER_PARTS)
    counts = collections.Counter(patch.part for patch in patches)
    assert set(counts) == set(CRITTER_PARTS.parts)
    assert min(counts.values()) > 45
    assert all(patch.half >= 2 for patch in patches)


def test_the_end_and_wrong_arguments():
    critters = drawn("train", 3)
    assert len(list(critters)) == 3
    with pytest.raises(IndexError):
        critters.annotation(3)
    for arguments in ({"split": "val"}, {"image_size": 8}, {"num_images": 0}, {"seed": -1}):
        with pytest.raises(JaxpartError):
            drawn(**arguments)
    assert critters.info.part_names[1] == PARTS[0]


PINNED = [[24.98, 30.06], [6.62, 26.98]]
