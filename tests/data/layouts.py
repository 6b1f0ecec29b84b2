"""Small synthetic copies of the official layouts, for the tests of their readers."""

import io
import json

import numpy as np
from PIL import Image

from benchmarks.stand_ins import write_mat as mat

SIZE = (12, 8)
"""(width, height) of every picture without keypoints."""

WIDE = (180, 60)
"""(width, height) of pictures with keypoints, far enough from each other to give patches."""


def jpeg(seed=0, size=SIZE, mode="RGB"):
    """The bytes of a JPEG of noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "jpeg")
    return file.getvalue()


def png(labels, mode="L"):
    """The bytes of a PNG of labels."""
    file = io.BytesIO()
    image = Image.fromarray(np.asarray(labels, np.uint8))
    if mode == "P":
        image.putpalette([7 * i % 256 for i in range(768)])
    image.save(file, "png")
    return file.getvalue()


def label_map(classes, seed=0, size=SIZE):
    """Labels 0 to `classes`, both of which occur."""
    labels = np.random.default_rng(seed).integers(0, classes + 1, (size[1], size[0]))
    labels[0, :2] = 0, classes
    return labels.astype(np.uint8)


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def lip(root):
    """LIP as its archives unpack: two training pairs, one for validation."""
    for split, names in (("train", ("77_2", "684_1")), ("val", ("36_4",))):
        for i, name in enumerate(names):
            picture = jpeg((i, len(split)))
            write(root / f"TrainVal_images/{split}_images/{name}.jpg", picture)
            write(
                root / f"TrainVal_parsing_annotations/{split}_segmentations/{name}.png",
                png(label_map(19, i)),
            )
        write(root / f"TrainVal_images/{split}_id.txt", "".join(f"{name}\n" for name in names))


def ade_challenge(root, classes=150, info=True):
    """ADEChallengeData2016, or the paper's folder of 59 objects, which has the same folders."""
    for split in ("training", "validation"):
        for i in range(2):
            write(root / f"images/{split}/ADE_{split}_{i}.jpg", jpeg((i, len(split))))
            labels = png(label_map(classes, 10 * i + len(split)))
            write(root / f"annotations/{split}/ADE_{split}_{i}.png", labels)
    if info:
        rows = "".join(f"{i}\t0.1\t9\t9\tthing {i}, other name\n" for i in range(1, 151))
        write(root / "objectInfo150.txt", "Idx\tRatio\tTrain\tVal\tName\n" + rows)


def paper(root, classes):
    """The paper's img and ann folders."""
    for split in ("train", "val"):
        for i in range(2):
            write(root / f"img/{split}/{split}{i}.jpg", jpeg((i, len(split))))
            write(root / f"ann/{split}/{split}{i}.png", png(label_map(classes, i)))


def code(*class_numbers):
    """An ADE20K map whose rows show classes: RGB [8, 12, 3]."""
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    for row, number in enumerate(class_numbers):
        pixels[row, :, :2] = number // 256 * 10, number % 256
    return pixels


def ade_full(root):
    """The full release: cars with wheels and doors (a rim on a wheel), a dog, which is not of the 59."""
    names = {400: "car, auto", 901: "wheel", 774: "door", 2122: "rim", 30: "dog, hound", 31: "tail"}
    scenes = {
        "training/urban/street/ADE_train_1": (
            [(0, 400, [], 0), (1, 901, 0, 1), (2, 2122, 1, 2), (3, 30, [], 0), (4, 31, 3, 1)],
            code(400, 400, 400, 30),
            code(901, 901, 0, 31),
        ),
        "training/home/ADE_train_2": ([(5, 400, [], 0), (6, 774, 5, 1)], code(400), code(774, 774)),
        "validation/home/ADE_val_1": ([(0, 400, [], 0)], code(0, 400), None),
        "validation/home/ADE_val_2": ([(0, 400, [], 0), (1, 901, 0, 1)], code(400), code(901)),
    }
    for name, (objects, whole, parts) in scenes.items():
        path = root / "images/ADE" / name
        entries = [
            {
                "id": key,
                "name": names[number],
                "name_ndx": number,
                "parts": {"ispartof": of, "hasparts": [], "part_level": level},
            }
            for key, number, of, level in objects
        ]
        write(path.with_suffix(".jpg"), jpeg(tuple(name.encode())))
        write(path.with_suffix(".json"), json.dumps({"annotation": {"object": entries}}))
        write(path.parent / f"{path.name}_seg.png", png(whole))
        if parts is not None:
            write(path.parent / f"{path.name}_parts_1.png", png(parts))


def mask(*rows):
    """A mask of some rows."""
    pixels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    pixels[list(rows)] = 1
    return pixels


def pascal(root, lists=True):
    """Pascal-Part with VOC 2010: a car with numbered wheels below a person, a boat, a person."""
    annotations = {
        "2008_2": [
            (
                "car",
                mask(0, 1, 2),
                [("wheel_1", mask(0)), ("wheel_2", mask(1)), ("door_1", mask(1))],
            ),
            ("person", mask(2, 3), [("head", mask(3))]),
        ],
        "2010_1": [("boat", mask(4), [])],
        "2008_1": [("person", mask(1, 5), [("lleg", mask(1))]), ("boat", mask(1, 2), [])],
    }
    for i, (name, objects) in enumerate(annotations.items()):
        mat(root / f"Annotations_Part/{name}.mat", objects)
        write(root / f"VOCdevkit/VOC2010/JPEGImages/{name}.jpg", jpeg(i))
    if lists:
        folder = root / "VOCdevkit/VOC2010/ImageSets/Main"
        write(folder / "train.txt", "2008_2\n2010_1\n")
        write(folder / "val.txt", "2008_1\n")


def ov_parts(root):
    """PascalPart116 of OV-PARTS: two images in either split, labels 0 to 115 and 255; one is listed."""
    for split in ("train", "val"):
        for i in range(2):
            labels = label_map(115, i)
            labels[1] = 255
            write(root / f"images/{split}/{split}{i}.jpg", jpeg((i, len(split))))
            write(root / f"annotations_detectron2_part/{split}/{split}{i}.png", png(labels))
            write(root / f"annotations_detectron2_obj/{split}/{split}{i}.png", png(label_map(19)))
    listed = [{"file_name": "datasets/PascalPart116/images/train/train1.jpg"}]
    write(root / "train_16shot.json", json.dumps(listed))


def partimagenet_file(split):
    """A json file of PartImageNet's first release: a fish, and an image without annotations."""
    names = [f"n01440764_{split}{i}.JPEG" for i in range(2)]
    squares = {8: [0, 0, 6, 0, 6, 4, 0, 4], 10: [4.0, 2, 12, 2, 12, 8, 4, 8]}
    return {
        "images": [
            {"id": i, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
            for i, name in enumerate(names)
        ],
        "annotations": [
            {"id": key, "image_id": 0, "category_id": key, "iscrowd": 0, "segmentation": [square]}
            for key, square in squares.items()
        ],
        "categories": [
            {"id": i, "name": f"Fish {part}", "supercategory": "Fish"}
            for i, part in enumerate(("Head", "Body", "Fin", "Tail"), 8)
        ],
    }


def partimagenet(root):
    """PartImageNet_OOD: class folders, and a json file for each split."""
    for split in ("train", "val", "test"):
        document = partimagenet_file(split)
        write(root / f"{split}.json", json.dumps(document))
        for image in document["images"]:
            picture = jpeg((image["id"], len(split)))
            write(root / split / image["file_name"][:9] / image["file_name"], picture)


def partimagenet_seg(root):
    """PartImageNet_Seg: label maps of parts and of objects, whose last label is the background."""
    for split in ("train", "val", "test"):
        name = f"n01440764_{split}"
        write(root / f"images/{split}/{name}.JPEG", jpeg(len(split)))
        write(root / f"annotations/{split}/{name}.png", png(label_map(40, len(split))))
        write(root / f"annotations/{split}/{name}.json", '{"height":8,"width":12}')
        write(root / f"annotations/{split}/{split}.json", json.dumps(partimagenet_file(split)))
        write(root / f"annotations/{split}_whole/{name}.png", png(label_map(158, len(split))))


def paco_file(split):
    """A file of PACO-LVIS: a mug with a handle, below it a body by runs; a knife with a handle."""
    folder = "val2017" if split == "test" else "train2017"
    first, second = (7, 8) if split == "train" else (5, 6)
    handle, knife = [[0, 0, 3, 0, 3, 4, 0, 4]], [[6, 0, 12, 0, 12, 2, 6, 2]]
    runs = {"size": [SIZE[1], SIZE[0]], "counts": [8, 24, 64]}
    rows = [(708, 9, [[0, 0, 6, 0, 6, 8, 0, 8]]), (2067, 8, handle), (2062, 7, runs)]
    rows += [(601, 5, knife), (2048, 6, knife), (601, 4, [])]
    return {
        "images": [
            {"id": 5, "file_name": f"{folder}/{first}.jpg", "width": SIZE[0], "height": SIZE[1]},
            {"id": 6, "file_name": f"{folder}/{second}.jpg", "width": SIZE[0], "height": SIZE[1]},
        ],
        "annotations": [
            {"id": key, "image_id": 5, "category_id": category, "segmentation": mask, "iscrowd": 0}
            for category, key, mask in rows
        ],
        "categories": [
            {"id": 708, "name": "mug", "supercategory": "OBJECT"},
            {"id": 601, "name": "knife", "supercategory": "OBJECT"},
            {"id": 2048, "name": "knife:handle", "supercategory": "PART"},
            {"id": 2062, "name": "mug:body", "supercategory": "PART"},
            {"id": 2067, "name": "mug:handle", "supercategory": "PART"},
        ],
        "part_categories": [],
    }


def paco(root):
    """PACO-LVIS with the images of COCO in its folder."""
    for split in ("train", "val", "test"):
        write(root / f"annotations/paco_lvis_v1_{split}.json", json.dumps(paco_file(split)))
    for folder in ("train2017", "val2017"):
        for i in (5, 6, 7, 8):
            write(root / f"coco/{folder}/{i}.jpg", jpeg((i, len(folder))))


def imagenet(root):
    """Class folders: three classes in train, two in val."""
    for split, classes in (("train", "bca"), ("val", "ca")):
        for name in classes:
            for i in range(2):
                write(root / split / f"n{name}" / f"{name}_{i}.JPEG", jpeg((i, len(split))))


def keypoint_folder(root):
    """A part folder with keypoints.json: two images, one of them without an instance."""
    document = {
        "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.png"}],
        "annotations": [
            {"id": 5, "image_id": 7, "keypoints": [1, 2, 2, 61.5, 4, 2]},
            {"id": 4, "image_id": 7, "keypoints": [75, 6, 1, 0, 0, 0]},
        ],
        "categories": [{"id": 1, "name": "bird", "keypoints": ["beak", "tail"]}],
    }
    write(root / "keypoints.json", json.dumps(document))
    write(root / "images/b.jpg", jpeg(1, WIDE))
    write(root / "images/a.png", png(label_map(200)))


def label_folder(root):
    """A part folder with label maps of three parts."""
    for i in range(2):
        write(root / f"images/{i}.jpg", jpeg(i))
        write(root / f"labels/{i}.png", png(label_map(3, i)))
    write(root / "classes.txt", "beak\nwing\ntail\n")


def cub(root):
    """CUB_200_2011: five images of two species, whose order is not that of the splits."""
    names = {
        2: "1.Gull/b.jpg",
        9: "0.Auk/a.jpg",
        5: "1.Gull/c.jpg",
        6: "0.Auk/d.jpg",
        7: "0.Auk/e.jpg",
    }
    lines = {
        "images.txt": [f"{i} {name}" for i, name in names.items()],
        "train_test_split.txt": [f"{i} {i % 2}" for i in names],
        "image_class_labels.txt": [f"{i} {1 + int(name[0])}" for i, name in names.items()],
        "classes.txt": ["1 0.Auk", "2 1.Gull"],
        "parts/parts.txt": ["9 left wing", "11 right eye", "12 right leg", "14 tail"],
        "parts/part_locs.txt": [
            f"{i} {part} {22 * (part - 9)} {i}.5 {int(part != 12)}"
            for i in names
            for part in (9, 11, 12, 14)
        ],
    }
    for file, rows in lines.items():
        write(root / file, "".join(f"{row}\n" for row in rows))
    for i, name in names.items():
        write(root / "images" / name, jpeg(i, WIDE))


PERSON = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""The keypoints of COCO."""


def coco(root):
    """COCO: one image with two persons, and one without, in either split."""
    persons = [
        {
            "id": i,
            "image_id": 3,
            "keypoints": [value for part in range(17) for value in (10 * part, i / 30, 2)],
        }
        for i in (800, 600)
    ]
    for split in ("train2017", "val2017"):
        document = {
            "images": [{"id": 3, "file_name": "3.jpg"}, {"id": 4, "file_name": "4.jpg"}],
            "annotations": persons,
            "categories": [{"keypoints": list(PERSON)}],
        }
        write(root / f"annotations/person_keypoints_{split}.json", json.dumps(document))
        write(root / f"{split}/3.jpg", jpeg((3, len(split)), WIDE))


BUILDERS = {
    "cub_parts": lambda root: cub(root / "CUB_200_2011"),
    "coco_person_parts": lambda root: coco(root / "coco"),
    "lip": lambda root: lip(root / "LIP"),
    "ade20k": lambda root: ade_challenge(root / "ade20k/ADEChallengeData2016"),
    "ade20k_object": lambda root: ade_challenge(root / "ADEChallengeData2016"),
    "ade20k_part": lambda root: ade_full(root / "ADE20K_2021_17_01"),
    "pascal_part": lambda root: pascal(root / "pascal_part"),
    "pascal_object": lambda root: pascal(root / "pascal_part"),
    "pascal_part_58": lambda root: pascal(root / "pascal_part"),
    "pascal_part_116": lambda root: ov_parts(root / "PascalPart116"),
    "partimagenet_part": lambda root: partimagenet(root / "PartImageNet_OOD"),
    "partimagenet_object": lambda root: partimagenet_seg(root / "PartImageNet_Seg"),
    "paco_part": lambda root: paco(root / "paco"),
    "paco_object": lambda root: paco(root / "paco"),
    "imagenet": lambda root: imagenet(root / "imagenet"),
    "part_folder": keypoint_folder,
}
"""Every data set that has an official layout, built below a root."""
