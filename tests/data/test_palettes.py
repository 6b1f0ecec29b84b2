"""Colours of classes: the published ones against what is known of them, and our own."""

import numpy as np
import pytest

from jaxpart.data.palettes import PUBLISHED, distinct_colours, palette, voc_colour
from jaxpart.data.sets import SETS
from jaxpart.data.sets.ade20k_object import OBJECTS as ADE20K_OBJECTS
from jaxpart.data.sets.lip import PARTS
from jaxpart.data.sets.pascal import OBJECTS as PASCAL_OBJECTS

CLASSES = {
    "ade20k": [f"class {i}" for i in range(1, 151)],
    "ade20k_object": list(ADE20K_OBJECTS.values()),
    "lip": list(PARTS),
    "pascal_object": list(PASCAL_OBJECTS),
}


def test_voc_colour_map():
    # VOCdevkit's devkit_doc, section on the colour map.
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128)}
    known |= {20: (0, 64, 128), 255: (224, 224, 192)}
    assert {label: voc_colour(label) for label in known} == known


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_colours_are_one_for_each_class(name):
    assert name in SETS
    colours = palette(name, CLASSES[name])
    assert colours.shape == (len(CLASSES[name]), 3)
    assert colours.dtype == np.uint8
    assert not (colours == 0).all(axis=1).any()  # black is the background's
    repeated = len(colours) - len(np.unique(colours, axis=0))
    assert repeated == (1 if name == "ade20k" else 0)  # road and skyscraper are one grey


def test_known_classes_have_their_colours():
    ade20k = palette("ade20k", CLASSES["ade20k"]).tolist()
    assert ade20k[0] == [120, 120, 120]  # wall
    assert ade20k[149] == [92, 0, 255]  # flag
    objects = dict(
        zip(CLASSES["ade20k_object"], palette("ade20k_object", []).tolist(), strict=True)
    )
    assert objects["sky"] == [6, 230, 230]
    assert objects["clock"] == ade20k[148]
    lip = dict(zip(PARTS, palette("lip", PARTS).tolist(), strict=True))
    assert lip["hair"] == [255, 0, 0]
    assert lip["right shoe"] == [255, 170, 0]
    found = palette("pascal_object", ["bird", "person"])  # a folder may hold some of them only
    assert found.tolist() == [[128, 128, 0], [192, 128, 128]]


def test_own_colours_differ():
    colours = palette("pascal_part", ["a"] * 193)
    assert np.array_equal(colours, distinct_colours(193))
    assert len(np.unique(distinct_colours(209), axis=0)) == 209
