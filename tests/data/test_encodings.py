"""Every text file of every data set, as an editor on another system saves it."""

import layouts
import numpy as np
import pytest

from jaxpart.data.sets import SETS

SPLIT = {"cub_parts": "all", "coco_person_parts": "val2017", "part_folder": "all"}
BUILDERS = {
    **layouts.BUILDERS,
    "label_folder": layouts.label_folder,
    "keypoint_folder": layouts.keypoint_folder,
}


def described(name, root):
    key = name if name in SETS else "part_folder"
    source = SETS[key].open(root, SPLIT.get(key, "val"))
    annotations = [source.annotation(i) for i in range(len(source))]
    points = [a.keypoints.xy for a in annotations if a.keypoints is not None]
    info = source.info
    return (
        [(a.id, a.label, a.size) for a in annotations],
        np.concatenate(points).tolist() if points else [],
        (info.part_names, info.class_names, info.mask_names, info.notes),
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_every_text_file_of_every_set(tmp_path, name, encoding):
    BUILDERS[name](tmp_path)
    expected = described(name, tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".txt", ".json")]
    assert files or name == "imagenet"  # which has none
    for path in files:
        text = path.read_text().replace("\n", "\r\n")
        path.write_bytes(text.encode(encoding))
    assert described(name, tmp_path) == expected
