"""Pairs of corresponding keypoints from small folders in the official layouts, and from broken ones."""

import collections
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict
from PIL import Image

from jaxpart.data.pairs import class_pairs, family_pairs, species_pairs
from jaxpart.data.sets.keypoint_pairs import ap10k, own_pairs
from jaxpart.data.sets.pairs import open_pairs
from jaxpart.data.sets.pf_pascal import pf_pascal
from jaxpart.data.sets.spair import GROUPS, spair
from jaxpart.data.squares import square_view, squared
from jaxpart.errors import JaxpartError
from jaxpart.metrics.pck import interchangeable


def picture(path, width, height):
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 100, 50)).save(file, "jpeg")
    path.write_bytes(file.getvalue())


def annotation(points, box, size=(40, 30)):
    kps = {str(i): points.get(i) for i in range(30)}
    return {"kps": kps, "bndbox": box, "image_width": size[0], "image_height": size[1]}


@pytest.fixture
def spair_root(tmp_path):
    root = tmp_path / "SPair-71k"
    made = {
        "2008_000033": annotation({0: [1, 2], 2: [5, 6], 3: [7, 8]}, [0, 0, 20, 10]),
        "2008_000059": annotation({0: [3, 4], 2: [9, 9], 3: None}, [5, 5, 15, 35], (30, 40)),
    }
    for stem, document in made.items():
        size = document["image_width"], document["image_height"]
        picture(root / "JPEGImages" / "cat" / f"{stem}.jpg", *size)
        file = root / "ImageAnnotation" / "cat" / f"{stem}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document))
    names = ["000001-2008_000033-2008_000059:cat", "000002-2008_000059-2008_000033:cat"]
    (root / "Layout" / "large").mkdir(parents=True)
    (root / "Layout" / "large" / "test.txt").write_text("\n".join(names))
    return root


def test_spair(spair_root):
    found = spair(str(spair_root.parent))
    assert found.pairs.tolist() == [[0, 1], [1, 0]]
    assert found.classes == ("cat", "cat")
    assert found.reference == "box"
    assert found.side.tolist() == [30, 20]  # of the target's box
    assert np.flatnonzero(found.counted[0]).tolist() == [0, 2]
    assert found.source_xy[0, [0, 2]].tolist() == [[1, 2], [5, 6]]
    assert found.target_xy[0, [0, 2]].tolist() == [[3, 4], [9, 9]]
    assert found.sizes.tolist() == [[40, 30], [30, 40]]
    # Eyes, 2 and 3, of which the first pair's target shows one alone, and the second's both.
    aware = interchangeable(found.target_visible, found.groups) & found.counted
    assert np.argwhere(aware).tolist() == [[1, 2]]
    pixels = list(square_view(found.source, size=20, layout="centred").read([0, 1]))
    assert [np.abs(p[0].astype(int)).max() > 9 for p in pixels] == [False, True]


def test_spair_with_the_colon_replaced(spair_root):
    listed = spair_root / "Layout" / "large" / "test.txt"
    listed.write_text(listed.read_text().replace(":", "_"))
    assert spair(str(spair_root)).classes == ("cat", "cat")


def test_every_group_of_spair_has_several_points_each_once():
    for name, groups in GROUPS.items():
        points = [point for group in groups for point in group]
        assert len(set(points)) == len(points) <= 30, name
        assert min(map(len, groups)) > 1
    assert GROUPS["aeroplane"][-1] == (20, 21)
    assert GROUPS["bottle"] == ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
    assert GROUPS["boat"][-1] == (11, 12)
    assert GROUPS["train"][-1] == (16, 17)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.pop("kps"), "2008_000059.json is not an annotation of SPair-71k .*kps"),
        (lambda d: d.update(kps=[1]), "is not an annotation of SPair-71k"),
        (lambda d: d["kps"].update({"2": [1, 2, 3]}), "is not an annotation of SPair-71k"),
        (lambda d: d["kps"].update({"2": [1, float("nan")]}), "a keypoint is not a number"),
        (lambda d: d.update(bndbox=[5, 5, 5, 9]), "its box .* is empty"),
        (lambda d: d.update(image_width=0), "the image size 0 × 40 is invalid"),
    ],
)
def test_wrong_annotations_of_spair(spair_root, change, sentence):
    file = spair_root / "ImageAnnotation" / "cat" / "2008_000059.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    with pytest.raises(JaxpartError, match=sentence):
        spair(str(spair_root))


def test_wrong_lists_of_spair(spair_root):
    listed = spair_root / "Layout" / "large" / "test.txt"
    listed.write_text("000001-a-b:giraffe")
    with pytest.raises(JaxpartError, match=r"test\.txt: '000001-a-b:giraffe' is not a number, two"):
        spair(str(spair_root))
    listed.write_text("000001-a-b:cat")
    with pytest.raises(JaxpartError, match=r"a\.json cannot be read"):
        spair(str(spair_root))
    with pytest.raises(JaxpartError, match="has no split 'train'"):
        spair(str(spair_root), "train")
    listed.unlink()
    with pytest.raises(JaxpartError, match="holds no SPair-71k"):
        spair(str(spair_root))


@pytest.fixture
def pf_root(tmp_path):
    for name, size in (("a", (50, 40)), ("b", (30, 60))):
        picture(tmp_path / "PF-dataset-PASCAL" / "JPEGImages" / f"{name}.jpg", *size)
    places = [f"PF-dataset-PASCAL/JPEGImages/{name}.jpg" for name in "ab"]
    line = ",".join([*places, "3", "1;2.5;3", "4;5;6", "7;8;9", "10;11;12"])
    (tmp_path / "test_pairs_pf_pascal.csv").write_text(
        f"source_image,target_image,class,XA,YA,XB,YB\n{line}\n"
    )
    return tmp_path


def test_pf_pascal(pf_root):
    found = pf_pascal(str(pf_root))
    assert found.classes == ("bird",)
    assert found.side.tolist() == [60]
    assert found.counted.sum() == 3
    assert found.source_xy[0, :3].tolist() == [[1, 4], [2.5, 5], [3, 6]]
    assert found.target_xy[0, 2].tolist() == [9, 12]
    assert len(found.source[1].image) > 100


@pytest.mark.parametrize(
    ("old", "new"),
    [(",3,", ",21,"), ("7;8;9", "7;8"), ("10;11;12", "10;11;x"), ("1;2.5;3", "1;nan;3")],
)
def test_wrong_lines_of_pf_pascal(pf_root, old, new):
    file = pf_root / "test_pairs_pf_pascal.csv"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(JaxpartError, match=r"pf_pascal\.csv, line 2: it is not two images"):
        pf_pascal(str(pf_root))


NAMES = ["nose", "left eye", "right eye", "tail"]


def document(boxes=True):
    objects = [
        (1, 1, [1, 1, 2, 2, 2, 2, 3, 3, 1, 4, 4, 1]),  # two visible: passed over
        (1, 1, [5, 1, 2, 6, 2, 2, 7, 3, 2, 8, 4, 1]),
        (2, 1, [9, 1, 2, 9, 2, 2, 9, 3, 2, 9, 4, 2]),
        (3, 2, [1, 1, 2, 1, 2, 2, 1, 3, 2, 1, 4, 2]),
        (4, 1, [0, 0, 0, 1, 2, 2, 1, 3, 2, 1, 4, 2]),
    ]
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 30, "height": 20} for i in (1, 2, 3, 4)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "keypoints": points}
            | ({"bbox": [0, 0, 10 + n, 5]} if boxes else {})
            for n, (i, c, points) in enumerate(objects)
        ],
        "categories": [
            {"id": i, "name": name, "keypoints": NAMES} for i, name in ((1, "fox"), (2, "owl"))
        ],
    }  # fmt: skip


def own(tmp_path, made):
    (tmp_path / "images").mkdir(exist_ok=True)
    for i in (1, 2, 3, 4):
        picture(tmp_path / "images" / f"{i}.jpg", 30, 20)
    (tmp_path / "keypoints.json").write_text(json.dumps(made))
    return str(tmp_path)


def test_own_pairs(tmp_path):
    found = own_pairs(own(tmp_path, document()))
    # Of image 1 the second object counts; 1 and 4 share two visible points alone; the owl is alone.
    assert found.classes == ("fox",) * 4
    assert found.pairs.tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]
    assert found.side.tolist() == [12, 11, 14, 12]
    assert found.counted.sum(axis=1).tolist() == [3, 3, 3, 3]
    without = own_pairs(own(tmp_path, document(boxes=False)))
    assert without.reference == "image"
    assert without.side.tolist() == [30] * 4


def test_objects_that_are_not_used_need_neither_box_nor_named_category(tmp_path):
    made = document()
    made["annotations"][0]["bbox"] = [0, 0, 0, 0]  # too few visible points
    made["annotations"] += [
        {"id": 5, "image_id": 2, "category_id": 9},
        {"id": 6, "image_id": 2, "category_id": 1, "bbox": None, "keypoints": []},
    ]
    assert own_pairs(own(tmp_path, made)).side.tolist() == [12, 11, 14, 12]


def test_points_outside_an_image_are_left_out(tmp_path):
    made = document()
    made["annotations"][2]["keypoints"][9:11] = [5000, -4]  # the fourth of image 2
    found = own_pairs(own(tmp_path, made))
    assert found.counted.sum(axis=1).tolist() == [3, 3]
    assert any("are left out: 1" in note for note in found.source.info.notes)


def test_boxes_that_are_two_corners_are_told(tmp_path):
    made = document()
    for annotation in made["annotations"]:
        annotation["bbox"] = [12, 8, 24, 18]
    with pytest.raises(
        JaxpartError, match=r"\[1\]\.bbox lies beyond its image, and all boxes could be"
    ):
        own_pairs(own(tmp_path, made))
    for box in ([12, 8, 6, 18], [12, 8, 33, 18]):  # which the annotator let go beyond
        made["annotations"][1]["bbox"] = box
        assert len(own_pairs(own(tmp_path, made)).side) == 4


def test_exif_orientations_are_said_and_sizes_read_where_none_are_stated(tmp_path):
    made = document()
    for image in made["images"]:
        del image["width"], image["height"]
    made["annotations"][2]["keypoints"][9:11] = [5000, -4]  # outside image 2
    root = own(tmp_path, made)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(tmp_path / "images/3.jpg").save(tmp_path / "images/3.jpg", exif=exif)
    notes = own_pairs(root).source.info.notes
    assert "images with an EXIF orientation: 1 (the first 3.jpg); it is not applied" in notes[0]
    assert "visible keypoints outside their images are left out: 1" in notes[1]


def test_wrong_own_pairs(tmp_path):
    with pytest.raises(JaxpartError, match=r"has no keypoints\.json"):
        own_pairs(str(tmp_path))
    made = document()
    made["annotations"][2]["bbox"] = [1, 2, 0, 4]
    with pytest.raises(JaxpartError, match=r"annotations\[2\]\.bbox is \[1, 2, 0, 4\]"):
        own_pairs(own(tmp_path, made))
    made = document()
    del made["annotations"][3]["bbox"]
    with pytest.raises(JaxpartError, match=r"annotations\[3\]\.bbox is None"):
        own_pairs(own(tmp_path, made))
    made = document()
    made["categories"][0]["name"] = 7
    with pytest.raises(JaxpartError, match="'categories' has no name"):
        own_pairs(own(tmp_path, made))
    made = document()
    made["annotations"] = made["annotations"][:1]
    with pytest.raises(JaxpartError, match="no object has 3 visible keypoints"):
        own_pairs(own(tmp_path, made))
    made = document()
    made["annotations"] = made["annotations"][1:2]
    with pytest.raises(JaxpartError, match="no two images of one category share 3 visible"):
        own_pairs(own(tmp_path, made))


def test_ap10k(tmp_path):
    root = tmp_path / "ap-10k"
    (root / "annotations").mkdir(parents=True)
    made = document()
    (root / "annotations" / "ap10k-test-split1.json").write_text(json.dumps(made))
    for i in (1, 2, 3, 4):
        picture(root / "data" / f"{i}.jpg", 30, 20)
    assert ap10k(str(tmp_path)).pairs.tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]
    with pytest.raises(JaxpartError, match="holds no ap-10k"):
        ap10k(str(root), "val")


def zoo(tmp_path):
    """A test file of AP-10K: a fox and a wolf, canids, and two owls; all with the same three points."""
    root = tmp_path / "ap-10k"
    (root / "annotations").mkdir(parents=True)
    made = document()
    points = made["annotations"][2]["keypoints"]
    made["annotations"] = [
        {"id": i, "image_id": i, "category_id": c, "keypoints": points, "bbox": [0, 0, 10, 5]}
        for i, c in ((1, 1), (2, 3), (3, 2), (4, 2))
    ]
    made["categories"].append({"id": 3, "name": "wolf", "keypoints": NAMES})
    for category, family in zip(made["categories"], ("canid", "strigid", "canid"), strict=True):
        category["supercategory"] = family
    (root / "annotations" / "ap10k-test-split1.json").write_text(json.dumps(made))
    for i in (1, 2, 3, 4):
        picture(root / "data" / f"{i}.jpg", 30, 20)
    return root, made


def test_ap10k_across_species_and_families(tmp_path):
    root, made = zoo(tmp_path)
    data = ConfigDict({"root": str(root)})
    species = open_pairs("ap10k_cross_species", data, most=0, seed=0)
    assert species.pairs.tolist() == [[0, 1], [1, 0]]
    assert species.classes == ("canid", "canid")
    assert species.source.annotation(1).id == "2.jpg"
    families = open_pairs("ap10k_cross_family", data, most=0, seed=0)
    expected = [(0, 2), (0, 3), (1, 2), (1, 3), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert list(map(tuple, families.pairs.tolist())) == expected
    assert families.classes == ("canid",) * 4 + ("strigid",) * 4
    assert families.reference == "box"
    few = open_pairs("ap10k_cross_family", data, most=1, seed=0)
    assert few.classes == ("canid", "strigid")
    del made["categories"][2]["supercategory"]
    (root / "annotations" / "ap10k-test-split1.json").write_text(json.dumps(made))
    assert len(open_pairs("ap10k", data, most=0, seed=0).pairs) == 2
    with pytest.raises(JaxpartError, match=r"categories\[2\] lacks the field 'supercategory'"):
        open_pairs("ap10k_cross_family", data, most=0, seed=0)


def test_one_family_has_no_pair_across_families(tmp_path):
    root, made = zoo(tmp_path)
    for category in made["categories"]:
        category["supercategory"] = "animal"
    (root / "annotations" / "ap10k-test-split1.json").write_text(json.dumps(made))
    with pytest.raises(JaxpartError, match="no two images of two families share 3 visible"):
        ap10k(str(root), across="families")
    assert len(ap10k(str(root), across="species").pairs) == 10


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=12),
    st.integers(0, 5),
)
def test_pairs_across_are_all_of_them_or_some(animals, most):
    families, species = [family for family, _ in animals], [kind for _, kind in animals]

    def every(belongs):
        return {
            (i, j) for i, a in enumerate(animals) for j, b in enumerate(animals) if belongs(a, b)
        }

    for found, of, belongs, unit in (
        (
            lambda most: species_pairs(species, families, most, 0),
            lambda pair: families[pair[0]],
            lambda a, b: a[0] == b[0] and a[1] != b[1],
            lambda pair: families[pair[0]],
        ),
        (
            lambda most: family_pairs(families, most, 0),
            lambda pair: families[pair[0]],
            lambda a, b: a[0] != b[0],
            lambda pair: (families[pair[0]], families[pair[1]]),
        ),
    ):
        pairs, classes = found(0)
        whole = list(map(tuple, pairs.tolist()))
        assert sorted(whole) == sorted(every(belongs))
        assert list(classes) == [of(pair) for pair in whole]
        few, few_of = found(most)
        drawn = list(map(tuple, few.tolist()))
        assert len(set(drawn)) == len(drawn) == len(few_of)
        limits = collections.Counter(map(unit, whole))
        assert collections.Counter(map(unit, drawn)) == {
            name: min(count, most or count) for name, count in limits.items()
        }


def test_pairs_of_a_class():
    labels = ["b", "a", "b", "b", "c"]
    pairs, classes = class_pairs(labels, 0, 0)
    assert pairs.tolist() == [[0, 2], [0, 3], [2, 0], [2, 3], [3, 0], [3, 2]]
    assert classes == ("b",) * 6
    few, _ = class_pairs(labels, 4, 1)
    again, _ = class_pairs(labels, 4, 1)
    assert few.tolist() == again.tolist()
    assert len(set(map(tuple, few.tolist()))) == 4
    assert set(map(tuple, few.tolist())) < set(map(tuple, pairs.tolist()))
    assert class_pairs([], 0, 0)[0].shape == (0, 2)


def test_cub_and_critters(samples):
    data = ConfigDict(
        {"root": str(samples), "num_images": 48, "image_size": 64, "seed": 0, "version": 1}
    )
    cub = open_pairs("cub_parts", data, most=0, seed=0)
    assert len(cub.pairs) == 10 * 12 * 11
    assert cub.reference == "box"
    assert (cub.side <= cub.sizes[cub.pairs[:, 1]].max(axis=1)).all()
    assert interchangeable(cub.target_visible, cub.groups).any()
    drawn = open_pairs("critters", data, most=0, seed=0)
    assert len(drawn.pairs) == 24 * 2
    assert drawn.reference == "image"
    assert set(drawn.side) == {64.0}
    data.root = ""
    with pytest.raises(JaxpartError, match="the data root is missing"):
        open_pairs("spair", data, most=0, seed=0)


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_squares_are_the_published_ones(golden, shape):
    stored = np.load(golden / "protocol/correspondence.npz")
    image = Image.fromarray(stored[f"resize/{shape}/input"])
    np.testing.assert_array_equal(squared(image, 31, "centred"), stored[f"resize/{shape}/zero_pad"])
