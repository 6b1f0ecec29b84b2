"""The geometry of part patches against the rule spelled out point by point."""

import dataclasses
import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxpart.data import parts
from jaxpart.data.images import crop
from jaxpart.data.parts import COCO_PARTS, CUB_PARTS, PartSelection, image_patches, part_patches
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints
from jaxpart.errors import JaxpartError

NAMES = {1: "nose", 4: "wing", 11: "right_wrist", 16: "left_ankle"}


class Drawn:
    """A source that knows only keypoints: rows (part, x, y, visible, instance) of each image."""

    def __init__(self, *images):
        self.info = DatasetInfo("drawn", "all", "1", part_names=NAMES)
        self._images = images

    def __len__(self):
        return len(self._images)

    def annotation(self, index):
        part, x, y, visible, instance = np.array(self._images[index], float).reshape(-1, 5).T
        points = Keypoints(
            part.astype(np.int64),
            np.stack([x, y], axis=1),
            visible.astype(bool),
            instance.astype(np.int64),
        )
        return Annotation(f"image {index}", points)


def published(rows, selection):
    """(part, x, y, dist, half, instance) by the words of the protocol, one point at a time."""
    visible = [row for row in rows if row[3] and row[0] in selection.parts]
    kept = [
        row
        for row in visible
        if sum(other[4] == row[4] for other in visible) >= selection.min_parts_per_instance
    ]
    patches = []
    for part, x, y, _, instance in kept:
        others = [
            math.sqrt((x - u) ** 2 + (y - v) ** 2 + (instance - other) ** 2)
            for _, u, v, _, other in kept
        ]
        dist = min((d for d in others if d > 0), default=math.inf) / 2
        if selection.min_dist < dist < selection.max_dist:
            patches.append((part, x, y, dist, round(dist / 2), instance))
    return patches


half_pixels = st.integers(-20, 400).map(lambda n: n / 2)
point = st.tuples(
    st.sampled_from(sorted(NAMES)),
    half_pixels,
    half_pixels,
    st.booleans(),
    st.sampled_from([0, 1, 30, 900100042]),
)
selections = st.builds(
    PartSelection,
    parts=st.sets(st.sampled_from(sorted(NAMES)), min_size=1).map(
        lambda parts: {part: NAMES[part] for part in parts}
    ),
    min_parts_per_instance=st.integers(1, 3),
    min_dist=st.sampled_from([1.0, 2.5, 20.0]),
    max_dist=st.sampled_from([25.0, 1000.0, math.inf]),
)


@given(st.lists(st.lists(point, max_size=12), max_size=4), selections)
def test_patches_follow_the_rule(images, selection):
    expected = [
        (index, *patch) for index, rows in enumerate(images) for patch in published(rows, selection)
    ]
    with mock.patch.object(parts, "_DISTANCES", 5):  # one row at a time, or two, or all
        patches = part_patches(Drawn(*images), selection)
    assert [(p.index, p.part, p.x, p.y, p.dist, p.half, p.instance) for p in patches] == expected
    assert all(p.image == f"image {p.index}" and p.half >= 1 for p in patches)
    assert all(p.box == (p.x - p.half, p.y - p.half, p.x + p.half, p.y + p.half) for p in patches)


@given(half_pixels, half_pixels, st.integers(1, 40))
def test_a_box_around_half_a_pixel_is_still_square(x, y, half):
    box = (x - half, y - half, x + half, y + half)
    assert crop(Image.new("RGB", (50, 40)), box).size == (2 * half, 2 * half)


def test_limits_are_exclusive():
    def kept(gap):
        return len(part_patches(Drawn([(1, 0, 0, 1, 0), (4, gap, 0, 1, 0)]), limits))

    limits = PartSelection(NAMES, min_dist=20.0, max_dist=30.0)
    assert [kept(gap) for gap in (40, 40.5, 59.5, 60)] == [0, 2, 2, 0]


def test_half_sides_are_rounded_half_to_even():
    source = Drawn([(1, 0, 0, 1, 0), (4, 90, 0, 1, 0)], [(1, 0, 0, 1, 0), (4, 94, 0, 1, 0)])
    assert [p.half for p in part_patches(source, PartSelection(NAMES))] == [22, 22, 24, 24]


def test_a_lone_keypoint_gives_no_patch():
    selection = PartSelection(NAMES, max_dist=math.inf)
    assert part_patches(Drawn([(1, 5, 5, 1, 0)], []), selection) == []
    assert part_patches(Drawn([(1, 5, 5, 1, 0), (4, 5, 5, 1, 0)]), selection) == []  # one place


def test_persons_with_near_ids_disturb_each_other():
    """The published loader's quirk: the annotation id is a third coordinate."""
    person = [(1, 0, 0, 1, 7), (11, 100, 0, 1, 7)]
    assert [p.dist for p in part_patches(Drawn(person), COCO_PARTS)] == [50, 50]
    near = [(1, 0, 3, 1, 11), (11, 100, 3, 1, 11)]
    assert part_patches(Drawn(person + near), COCO_PARTS) == []  # hypot(3, 4) / 2 is too near
    far = [(1, 0, 3, 1, 900), (11, 100, 3, 1, 900)]
    assert [p.dist for p in part_patches(Drawn(person + far), COCO_PARTS)] == [50] * 4


def test_a_person_needs_two_visible_parts():
    rows = [(1, 0, 0, 1, 7), (11, 100, 0, 0, 7), (1, 300, 0, 1, 900), (16, 300, 90, 1, 900)]
    assert [p.instance for p in part_patches(Drawn(rows), COCO_PARTS)] == [900, 900]


def test_the_published_selections():
    assert sorted(CUB_PARTS.parts) == [9, 11, 12, 14]
    assert sorted(COCO_PARTS.parts) == [1, 11, 16]
    assert (CUB_PARTS.min_parts_per_instance, COCO_PARTS.min_parts_per_instance) == (1, 2)
    assert {(s.min_dist, s.max_dist) for s in (CUB_PARTS, COCO_PARTS)} == {(20.0, 1000.0)}


def test_an_unknown_part_is_refused():
    with pytest.raises(JaxpartError, match=r"drawn has no part with id 9; its parts are .*nose"):
        part_patches(Drawn([]), PartSelection({9: "left_wing"}))


@pytest.mark.parametrize("limits", [(0.5, 10), (20, 20), (30, 20), (math.nan, 20)])
def test_useless_limits_are_refused(limits):
    with pytest.raises(JaxpartError, match="distance limits"):
        dataclasses.replace(CUB_PARTS, min_dist=limits[0], max_dist=limits[1])


def test_an_empty_selection_is_refused():
    with pytest.raises(JaxpartError, match="at least one part"):
        PartSelection({})


def test_an_image_without_keypoints_is_refused():
    with pytest.raises(JaxpartError, match=r"a\.jpg has no keypoints"):
        image_patches(0, Annotation("a.jpg"), CUB_PARTS)
