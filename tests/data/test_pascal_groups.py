"""Pascal-Part merged into 58 and 116 classes, from its annotations and from OV-PARTS' label maps."""

import layouts
import numpy as np
import pytest
from test_pascal import PARTS

from jaxpart.data.folders import NotThere
from jaxpart.data.label_maps import numbered
from jaxpart.data.masks import read_mask
from jaxpart.data.sets.pascal import pascal_part
from jaxpart.data.sets.pascal_groups import (
    GROUPING_58,
    GROUPING_116,
    pascal_part_58,
    pascal_part_116,
)
from jaxpart.errors import JaxpartError


def labels(source, index):
    return read_mask(source[index], "part", len(source.info.mask_names["part"]))


def test_the_classes_are_the_published_ones():
    assert len(GROUPING_58.names) == 58
    assert len(GROUPING_116.names) == 117
    assert GROUPING_58.names[:4] == (
        "background",
        *(f"aeroplane {p}" for p in ["body", "engine", "wing"]),
    )
    assert [GROUPING_58.names.index(n) for n in ("boat", "car plate", "person lower arm", "train")] == [
        12, 21, 45, 55,
    ]  # fmt: skip
    # The first and last class of some objects in OV-PARTS' list, which counts from 0.
    known = {
        0: "aeroplane body",
        29: "bus license plate",
        50: "cat ear",
        60: "dog tail",
        82: "motorbike headlight",
        83: "person head",
        96: "person hand",
        99: "sheep tail",
        115: "tvmonitor screen",
    }
    assert {label: GROUPING_116.names[label + 1] for label in known} == known


@pytest.mark.parametrize(
    ("grouping", "empty"), [(GROUPING_58, {"tvmonitor frame"}), (GROUPING_116, set())]
)
def test_every_annotated_part_has_a_class_and_every_class_a_part(grouping, empty):
    taken = set()
    for whole, parts in PARTS.items():
        for part in parts.split():
            name = part.partition("_")[0]
            label = grouping.of_part(whole, name)
            assert label, (whole, name)
            assert grouping.names[label].split()[0] == whole
            taken.add(grouping.names[label])
    alone = {name for name in grouping.names if name in ("boat", "chair", "table", "sofa")}
    assert set(grouping.names) - taken == {"background"} | alone | empty


@pytest.mark.parametrize(
    ("whole", "part", "of_58", "of_116"),
    [
        ("aeroplane", "tail", "aeroplane stern", "aeroplane tail"),
        ("bicycle", "chainwheel", "bicycle wheel", "bicycle chainwheel"),
        ("bicycle", "saddle", "bicycle body", "bicycle saddle"),
        ("bird", "tail", "bird torso", "bird tail"),
        ("bird", "lfoot", "bird leg", "bird foot"),
        ("bus", "headlight", "bus body", "bus headlight"),
        ("car", "bliplate", "car plate", "car license plate"),
        ("car", "leftmirror", "car body", "car mirror"),
        ("cat", "rbpa", "cat leg", "cat paw"),
        ("cow", "lhorn", "cow head", "cow horn"),
        ("horse", "lfho", "horse leg", "horse hoof"),
        ("horse", "rblleg", "horse leg", "horse leg"),
        ("person", "lfoot", "person lower leg", "person foot"),
        ("person", "ruleg", "person upper leg", "person leg"),
        ("person", "lhand", "person lower arm", "person hand"),
        ("person", "rebrow", "person head", "person eyebrow"),
        ("sheep", "tail", "sheep torso", "sheep tail"),
        ("train", "cleftside", "train", "train side"),
        ("tvmonitor", "frame", "tvmonitor frame", None),
        ("cat", "wing", None, None),
        ("unicorn", "horn", None, None),
    ],
)
def test_merges(whole, part, of_58, of_116):
    for grouping, expected in ((GROUPING_58, of_58), (GROUPING_116, of_116)):
        label = grouping.of_part(whole, part)
        assert (label and grouping.names[label]) == expected


def test_pixels_without_a_part_are_ignored_or_of_the_rest(tmp_path):
    layouts.pascal(tmp_path / "pascal_part")
    source = pascal_part_58(tmp_path, "train")
    assert source.info.mask_names == {"part": GROUPING_58.names}
    wheel, body, head, boat = (
        GROUPING_58.names.index(n) for n in ("car wheel", "car body", "person head", "boat")
    )
    # The door is body; the rest of car and person has no part.
    assert labels(source, 0)[:, 0].tolist() == [wheel, body, 255, head, 0, 0, 0, 0]
    assert labels(source, 1)[:, 0].tolist() == [0, 0, 0, 0, boat, 0, 0, 0]
    merged = pascal_part_116(tmp_path, "train")
    assert labels(merged, 1)[:, 0].tolist() == [0, 0, 0, 0, 255, 0, 0, 0]
    bicycle = (
        "bicycle",
        layouts.mask(0, 1, 2),
        [("fwheel", layouts.mask(0)), ("saddle", layouts.mask(1))],
    )
    layouts.mat(tmp_path / "pascal_part/Annotations_Part/2010_1.mat", [bicycle])
    of_rest = GROUPING_58.names.index("bicycle body")
    assert labels(source, 1)[:4, 0].tolist() == [of_rest - 1, of_rest, of_rest, 0]


def test_objects_whose_own_pixels_are_a_class():
    found = {
        whole: GROUPING_58.of_object(whole) for whole in (*PARTS, "boat", "chair", "table", "sofa")
    }
    names = {whole: GROUPING_58.names[label] for whole, label in found.items() if label != 255}
    assert names == {
        "bicycle": "bicycle body",
        "motorbike": "motorbike body",
        **{whole: whole for whole in ("boat", "chair", "table", "sofa")},
    }
    assert {GROUPING_116.of_object(whole) for whole in (*found, "unicorn")} == {255}


@pytest.mark.parametrize("opened", [pascal_part_58, pascal_part_116])
def test_the_samples_are_merged_parts(samples, opened):
    source, parts = opened(samples, "all"), pascal_part(samples, "all")
    names, raw = source.info.mask_names["part"], parts.info.mask_names["part"]
    grouping = GROUPING_58 if opened is pascal_part_58 else GROUPING_116
    seen = set()
    for index in range(len(source)):
        found, before = labels(source, index), labels(parts, index)
        for label in np.unique(before[before > 0]).tolist():
            (merged,) = np.unique(found[before == label]).tolist()
            assert merged == grouping.of_part(*raw[label].split(" "))
            seen.add(names[merged])
        rest = np.unique(found[before == 0]).tolist()
        allowed = {"boat"} if opened is pascal_part_58 else set()
        assert {names[label] for label in rest if label not in (0, 255)} <= allowed
    assert {"horse leg", "person hair" if len(names) == 117 else "person head"} <= seen


def test_ov_parts_label_maps(tmp_path):
    layouts.ov_parts(tmp_path / "PascalPart116")
    source = pascal_part_116(tmp_path, "val")
    expected = layouts.label_map(115, 0) + 1
    expected[1] = 255
    np.testing.assert_array_equal(labels(source, 0), expected)
    assert source.info.mask_names == {"part": GROUPING_116.names}
    with pytest.raises(JaxpartError, match="OV-PARTS has no split 'all'"):
        pascal_part_116(tmp_path, "all")
    layouts.write(
        tmp_path / "PascalPart116/annotations_detectron2_part/val/val0.png",
        layouts.png(layouts.label_map(116)),
    )
    with pytest.raises(JaxpartError, match=r"val0\.png: the label map holds 116, but 116 classes"):
        source[0]


def test_the_16_shots_of_ov_parts(tmp_path):
    layouts.ov_parts(tmp_path / "PascalPart116")
    source = pascal_part_116(tmp_path, "train_16shot")
    assert [source.annotation(i).id for i in range(len(source))] == ["images/train/train1.jpg"]
    file = tmp_path / "PascalPart116/train_16shot.json"
    for text, message in (
        ("{}", "is not a list of images"),
        ("[]", "is not a list of images"),
        ('[{"file_name": "train0.jpg"}, 3]', "entry 1 has no file_name"),
        ('[{"file_name": []}]', "entry 0 has no file_name"),
        ('[{"file_name": "../../x.jpg"}]', r"lists \.\./\.\./x\.jpg, which does not exist"),
        ("[" * 10**5, "is damaged"),
    ):
        file.write_text(text)
        with pytest.raises(JaxpartError, match=r"train_16shot\.json.* " + message):
            pascal_part_116(tmp_path, "train_16shot")
    file.unlink()
    with pytest.raises(NotThere, match=r"train_16shot\.json is missing"):
        pascal_part_116(tmp_path, "train_16shot")
    layouts.pascal(tmp_path / "other/pascal_part")
    with pytest.raises(NotThere, match="has no list of the split train_16shot"):
        pascal_part_116(tmp_path / "other", "train_16shot")


def test_the_papers_folder_has_no_names_to_merge(tmp_path):
    layouts.paper(tmp_path / "pascal_part", 193)
    assert pascal_part(tmp_path, "val").info.mask_names["part"] == numbered(193)
    for opened in (pascal_part_58, pascal_part_116):
        with pytest.raises(NotThere, match="Annotations_Part"):
            opened(tmp_path, "val")
