"""Whole parts of an image: from its mask, or else the boxes of its part patches."""

import dataclasses

import numpy as np

from jaxpart.data.critters import CRITTER_PARTS, Critters
from jaxpart.data.images import decode, image_eval
from jaxpart.data.masks import read_mask
from jaxpart.data.parts import part_patches
from jaxpart.data.regions import part_regions, patches_of_region

SOURCE = Critters("test", 4, image_size=96, seed=0)


class Keypoints:
    """The same pictures without masks."""

    info = SOURCE.info
    annotation = SOURCE.annotation

    def __getitem__(self, index):
        return dataclasses.replace(SOURCE[index], masks={})


def test_masks():
    pixels, regions = part_regions(SOURCE, 1, CRITTER_PARTS, size=84)  # of 96: every pixel stays
    record = SOURCE[1]
    names = SOURCE.info.mask_names["part"]
    labels = read_mask(record, "part", len(names))[6:90, 6:90]
    assert np.array_equal(pixels, image_eval(decode(record.image, "1"), 84))
    assert set(regions) == {names[label] for label in np.unique(labels) if label}
    for name, region in regions.items():
        assert np.array_equal(region, labels == names.index(name))
    for name, region in part_regions(SOURCE, 1, CRITTER_PARTS, size=42)[1].items():
        assert abs(4 * region.sum() - regions[name].sum()) < 0.3 * regions[name].sum() + 8


def test_boxes_of_one_name_together():
    source = Keypoints()
    _, regions = part_regions(source, 2, CRITTER_PARTS, size=84)
    expected = {}
    for patch in part_patches(SOURCE, CRITTER_PARTS):
        if patch.index == 2:
            left, top, right, bottom = (max(0, round(edge)) for edge in patch.box)
            inside = expected.setdefault(CRITTER_PARTS.parts[patch.part], np.zeros((96, 96), bool))
            inside[top:bottom, left:right] = True
    assert regions.keys() == expected.keys()
    for name, region in regions.items():
        assert np.array_equal(region, expected[name][6:90, 6:90])


def test_one_pixel_is_enough():
    region = np.zeros((8, 8), bool)
    region[3, 4] = region[7, 0] = True
    assert np.flatnonzero(patches_of_region(region, 4)).tolist() == [1, 2]
