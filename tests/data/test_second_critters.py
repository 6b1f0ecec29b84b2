"""Critters of version 2: the same everywhere, and nothing but shapes and places tells a part or a kind."""

import collections
import hashlib
import itertools

import numpy as np
import pytest

from jaxpart.data.critters import CRITTER_PARTS, PRETRAINING_KINDS, Critters
from jaxpart.data.critters.second import outlines
from jaxpart.data.critters.second.kinds import shapes_of
from jaxpart.data.critters.second.texture import random_paint
from jaxpart.data.critters.species import MASK_PARTS, NAMES, PARTS
from jaxpart.data.parts import part_patches
from jaxpart.errors import JaxpartError

KINDS = range(len(NAMES))


def made(split="train", images=48, **options):
    return Critters(split, images, version=2, **options)


def digests(critters):
    return [hashlib.sha256(critters.draw(i).image).hexdigest() for i in range(6)]


def test_picture_is_pinned_and_of_its_version_seed_and_split():
    """So that a change of the data set is seen, and told in its version."""
    critters = made("test", 30)
    assert critters.info.version == "2.1-96-0"
    assert critters.annotation(29).keypoints.xy[:2].round(2).tolist() == PLACES
    assert hashlib.sha256(critters.draw(29).image).hexdigest()[:16] == PICTURE
    others = [Critters("test", version=1), made("test", seed=1), made("train"), made("pretrain")]
    seen = [set(digests(other)) for other in (critters, *others)]
    assert not any(a & b for a, b in itertools.combinations(seen, 2))


def test_no_part_tells_the_kind_and_four_parts_do():
    words = {kind: shapes_of(kind) for kind in KINDS}
    for part in MASK_PARTS:
        shared = collections.Counter(word[part] for word in words.values())
        assert shared == {shape: len(NAMES) // 3 for shape in range(3)}
    for a, b in itertools.combinations(words.values(), 2):
        assert sum(a[part] == b[part] for part in MASK_PARTS) <= 3
    largest = [tuple(word[part] for part in ("head", "wing", "body")) for word in words.values()]
    assert len(set(largest)) == len(NAMES)


def test_shapes_of_a_part_differ():
    for part in MASK_PARTS:
        drawn = [np.concatenate(getattr(outlines, part)(shape)) for shape in range(3)]
        assert not any(
            a.shape == b.shape and np.allclose(a, b) for a, b in itertools.combinations(drawn, 2)
        )


def test_two_individuals_of_a_kind_share_no_colour():
    paints = [
        {shape.label: shape.paint.colours for shape in made()._scene(i).shapes if shape.label}
        for i in (3, 3 + len(NAMES))
    ]
    assert paints[0].keys() == paints[1].keys() == set(range(1, len(MASK_PARTS) + 1))
    assert all(paints[0][label] != paints[1][label] for label in paints[0])
    assert len(set(paints[0].values())) == len(MASK_PARTS)


def test_paints_are_of_every_pattern_and_brightness():
    rng = np.random.default_rng(0)
    paints = [random_paint(rng) for _ in range(2000)]
    assert {paint.pattern for paint in paints} == {None, *range(17)}
    mean = np.array([paint.colours[0] for paint in paints]).mean(axis=0)
    assert np.ptp(mean) < 6  # no channel is favoured
    darker = np.mean([sum(paint.edge) < sum(paint.colours[0]) for paint in paints])
    assert 0.45 < darker < 0.55


def test_masks_keypoints_and_labels_agree():
    critters = made(images=96)
    visible = []
    for i in range(len(critters)):
        image, part_mask, object_mask = critters.draw(i)
        annotation = critters.annotation(i)
        assert image.shape == (96, 96, 3)
        assert annotation.label == i % len(NAMES)
        assert set(np.unique(object_mask)) == {0, annotation.label + 1}
        np.testing.assert_array_equal(object_mask > 0, part_mask > 0)
        points = annotation.keypoints
        for part, (x, y), seen in zip(points.part, points.xy, points.visible, strict=True):
            assert not seen or part_mask[int(y), int(x)] == part
        visible.append(points.visible)
    shares = np.mean(visible, axis=0)
    assert (shares > 0.85).all()
    assert shares.mean() < 1
    patches = part_patches(critters, CRITTER_PARTS)
    counts = collections.Counter(patch.part for patch in patches)
    assert set(counts) == set(CRITTER_PARTS.parts)
    assert min(counts.values()) > 40
    assert np.median([patch.half for patch in patches]) >= 9


def test_keypoint_lies_in_each_shape_of_its_part():
    """Were a shape's keypoint beside it, that shape would never be a patch."""
    critters = made("train", 96)
    seen = collections.defaultdict(list)
    for i in range(len(critters)):
        annotation = critters.annotation(i)
        for part, visible in zip(PARTS, annotation.keypoints.visible, strict=True):
            seen[part, shapes_of(annotation.label)[part]].append(visible)
    assert len(seen) == len(PARTS) * 3
    assert min(map(np.mean, seen.values())) > 0.7


def test_two_kinds_are_never_seen_in_pretraining():
    critters = made("pretrain", 2 * PRETRAINING_KINDS)
    labels = [critters.annotation(i).label for i in range(len(critters))]
    assert labels == 2 * list(range(len(NAMES) - 2))
    assert critters.info.class_names == NAMES


def test_sizes_show_the_same_scene():
    small, large = made(), made(image_size=192)
    np.testing.assert_allclose(
        2 * small.annotation(4).keypoints.xy, large.annotation(4).keypoints.xy
    )
    halved = large.draw(4).image.reshape(96, 2, 96, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - small.draw(4).image).mean() < 8


@pytest.mark.parametrize("arguments", [{"version": 3}, {"version": 1, "split": "pretrain"}])
def test_wrong_version_or_split(arguments):
    with pytest.raises(JaxpartError, match=r"have no (version|split)"):
        Critters(**arguments)


PLACES = [[35.05, 36.91], [20.85, 36.36]]
PICTURE = "295a9089bf66f5f9"
