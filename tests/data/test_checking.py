"""Everything that can be wrong with a record is listed; what may be is counted."""

import dataclasses
import io

import layouts
import numpy as np
from PIL import Image

from jaxpart.data.checking import check_files, check_source, record_faults, repeated
from jaxpart.data.critters import Critters
from jaxpart.data.imagenet import ImageNet
from jaxpart.data.lip import lip
from jaxpart.data.manifest import read_manifest
from jaxpart.data.preparing import prepare
from jaxpart.data.source import Annotation, Keypoints

SOURCE = Critters(num_images=2, image_size=32)
RECORD = SOURCE[0]


def faults(**changes):
    return list(record_faults(dataclasses.replace(RECORD, **changes), SOURCE.info))


def test_a_sound_record_has_no_faults():
    assert faults() == []


def test_every_fault_is_named():
    masks = dict(RECORD.masks)
    assert "truncated or damaged" in faults(image=RECORD.image[:-40])[0]
    assert "not an image" in faults(image=b"GIF!")[0]
    assert "empty file" in faults(image=b"")[0]
    assert "train/000000 (object mask) is missing" in faults(masks={"part": masks["part"]})[0]
    high = layouts.png(np.full((32, 32), 8, np.uint8))
    small = layouts.png(np.zeros((8, 32), np.uint8))
    both = faults(masks={"part": high, "object": small})
    assert "train/000000 (part mask): the label map holds 8, but 8 classes allow 0 to 7" in both[0]
    assert "the label map is 32 × 8 pixels but its image is 32 × 32" in both[1]
    assert "has the label 24 of 24" in faults(annotation=Annotation("a", label=24))[0]
    points = Keypoints(
        np.array([1, 9]), np.full((2, 2), np.nan), np.ones(2, bool), np.zeros(2, int)
    )
    wrong = faults(annotation=Annotation("a", points))
    assert wrong == [
        "a has keypoints of the unknown parts [9]",
        "a has a keypoint that is no number",
    ]


def encoded(mode, kind, dtype=np.uint8):
    file = io.BytesIO()
    image = Image.fromarray(np.full((6, 5), 300 if dtype == np.uint16 else 3, dtype))
    (image if dtype == np.uint16 else image.convert(mode)).save(file, kind)
    return file.getvalue()


def test_unusual_images_are_read_as_rgb_and_counted(tmp_path):
    images = {
        "a.jpg": encoded("RGB", "jpeg"),
        "b.jpg": encoded("CMYK", "jpeg"),
        "c.jpg": encoded("L", "jpeg"),
        "d.png": encoded("P", "png"),
        "e.png": encoded("I;16", "png", np.uint16),
        "f.png": encoded("RGBA", "png"),
    }
    for name, data in images.items():
        layouts.write(tmp_path / "val/n1" / name, data)
    summary, found = check_source(ImageNet(tmp_path, "val"), workers=1)
    assert found == []
    assert summary.modes == {"CMYK": 1, "I;16": 1, "L": 1, "P": 1, "RGBA": 1}
    assert str(summary) == (
        "6 images, sides of 5 to 6 pixels, 1 of mode CMYK, 1 of mode I;16, 1 of mode L, 1 of mode P, "
        "1 of mode RGBA (read as RGB)"
    )


def test_a_check_lists_all_and_goes_on(tmp_path):
    layouts.paper(tmp_path, 19)
    (tmp_path / "img/val/val0.jpg").write_bytes(layouts.jpeg()[:-30])
    (tmp_path / "ann/val/val1.png").write_bytes(layouts.png(layouts.label_map(25)))
    source = lip(tmp_path, "val")
    done = []
    summary, found = check_source(source, workers=1, progress=done.append)
    assert summary.records == 2
    assert done == [2]
    assert len(found) == 2
    assert "val0.jpg is truncated" in found[0]
    assert (
        "val1.jpg (part mask): the label map holds 20, 21, 22, 23, 24, but 20 classes" in found[1]
    )
    assert check_source(source, workers=2) == (summary, found)


def test_repeated_ids():
    assert repeated(["a", "b", "a"]) == ["the id a comes 2 times"]


def test_checksums_of_a_prepared_set(tmp_path):
    folder, _ = prepare("critters", {"train": SOURCE}, tmp_path, workers=1)
    manifest = read_manifest(folder)
    assert check_files(folder, manifest) == []
    path = folder / manifest.files()[0].name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (fault,) = check_files(folder, manifest)
    assert fault.startswith(f"{path} has not the SHA-256")
