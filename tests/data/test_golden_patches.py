"""Part patches and their pixels against the published loaders' own."""

import json

import numpy as np
import pytest

from jaxpart.data.images import normalize
from jaxpart.data.parts import COCO_PARTS, CUB_PARTS, part_patches
from jaxpart.data.patch_images import read_patches
from jaxpart.data.sets.coco import CocoPersons
from jaxpart.data.sets.cub import Cub
from jaxpart.encoders.families import IMAGENET_MEAN, IMAGENET_STD

LISTS = {
    "cub_retrieval": (Cub, "CUB_200_2011", "all", CUB_PARTS),
    "cub_classification_train": (Cub, "CUB_200_2011", "train", CUB_PARTS),
    "cub_classification_test": (Cub, "CUB_200_2011", "test", CUB_PARTS),
    "coco_retrieval": (CocoPersons, "coco", "train2017", COCO_PARTS),
    "coco_classification_train": (CocoPersons, "coco", "train2017", COCO_PARTS),
    "coco_classification_test": (CocoPersons, "coco", "val2017", COCO_PARTS),
}


@pytest.fixture(params=LISTS)
def listed(request, samples):
    """(name, source, patches) of each published list."""
    reader, folder, split, selection = LISTS[request.param]
    source = reader(samples / folder, split)
    return request.param, source, part_patches(source, selection)


def test_patches_are_the_published_ones(listed, golden):
    name, _, patches = listed
    expected = json.loads((golden / "protocol/patches.json").read_text())[name]
    ours = [
        {
            "image": p.image,
            "part_id": p.part,
            "x": p.x,
            "y": p.y,
            "dist": p.dist,
            "half": p.half,
            "box": list(p.box),
        }
        | ({"ann_id": p.instance} if "ann_id" in expected[0] else {})
        for p in patches
    ]
    assert ours == expected


def test_pixels_are_the_published_ones(listed, golden):
    name, source, patches = listed
    arrays = np.load(golden / "protocol/patch_tensors.npz")
    transform = "train" if name.endswith("_train") else "eval"
    keys = [key for key in arrays.files if key.startswith(f"{name}/")]
    assert keys
    wanted = [patches[int(key.split("/")[1])] for key in keys]
    read = list(read_patches(source, wanted, size=224, transform=transform))
    assert [i for i, _ in read] == list(range(len(keys)))
    for key, (_, pixels) in zip(keys, read, strict=True):
        ours = normalize(pixels, IMAGENET_MEAN, IMAGENET_STD)
        assert ours.dtype == np.float32
        assert np.abs(ours.transpose(2, 0, 1) - arrays[key]).max() <= 1e-6, key
