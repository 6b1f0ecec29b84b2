"""Data sets that tensorflow-datasets prepared, by name: against its own reading of them."""

import dataclasses
import io
import json
import pickle
import shutil
import sys

import layouts
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxpart.config import part_config
from jaxpart.data.__main__ import main
from jaxpart.data.masks import read_mask
from jaxpart.data.parts import part_patches
from jaxpart.data.sets import classification_sets, find_set, open_set, retrieval_set
from jaxpart.data.sets.tfds import Tfds
from jaxpart.data.sets.tfds_features import Stated
from jaxpart.data.sets.tfds_keypoints import KeypointFeature
from jaxpart.errors import JaxpartError
from jaxpart.io.files import user_cache
from jaxpart.tasks.segmentation.inputs import segmentation_set
from jaxpart.tasks.segmentation.options import check_options

COUNTS = {"train": 5, "validation": 3, "test": 2}


def jpeg(number):
    file = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    file.seek(0)
    return file


class Shapes(tfds.core.GeneratorBasedBuilder):
    """Two classes; the test split's are withheld, as those of imagenet2012."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(),
                "label": tfds.features.ClassLabel(names=["round", "square"]),
                "species": tfds.features.ClassLabel(num_classes=2),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self, features=features, supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in COUNTS}

    def _generate_examples(self, split):
        for i in range(COUNTS[split]):
            label = -1 if split == "test" else i % 2
            yield f"{split}{i}", {"image": jpeg(i), "label": label, "species": 0}


def trimap(number):
    """As oxford_iiit_pet's: 1 the pet, 2 background, 3 the border between."""
    values = np.full((24, 32), 2, np.uint8)
    values[6:20, 4 + number : 20 + number] = 3
    values[8:18, 6 + number : 18 + number] = 1
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    file.seek(0)
    return file


class Pets(tfds.core.GeneratorBasedBuilder):
    """The features of oxford_iiit_pet, and others that cannot be label maps."""

    VERSION = tfds.core.Version("4.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(),
                "label": tfds.features.ClassLabel(names=["abyssinian", "beagle"]),
                "species": tfds.features.ClassLabel(names=["cat", "dog"]),
                "file_name": tfds.features.Text(),
                "segmentation_mask": tfds.features.Image(shape=(None, None, 1), use_colormap=True),
                "head_bbox": tfds.features.BBoxFeature(),
                "named": {
                    "map": tfds.features.LabeledImage(
                        labels=["sky", "pet", "ground", "edge"], shape=(None, None, 1)
                    )
                },
            }
        )
        return tfds.core.DatasetInfo(
            builder=self, features=features, supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(4), "test": self._generate_examples(3)}

    def _generate_examples(self, count):
        for i in range(count):
            yield (
                i,
                {
                    "image": jpeg(i),
                    "label": i % 2,
                    "species": i % 2,
                    "file_name": f"{i}.jpg",
                    "segmentation_mask": trimap(i),
                    "head_bbox": tfds.features.BBox(0.1, 0.1, 0.5, 0.5),
                    "named": {"map": trimap(i)},
                },
            )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def data_dir(tmp_path):
    Shapes(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    return tmp_path


@pytest.mark.parametrize(("split", "real"), [("train", "train"), ("test", "validation")])
def test_records_are_those_that_tfds_reads(data_dir, split, real):
    source = Tfds("tfds:shapes", str(data_dir), split)
    wanted = tfds.builder_from_directory(data_dir / "shapes/1.2.0").as_data_source(split=real)
    assert len(source) == len(wanted) == COUNTS[real]
    assert source.info.class_names == ("round", "square")
    for copy in (source, pickle.loads(pickle.dumps(source))):
        for index, example in enumerate(wanted):
            record = copy[index]
            assert record.annotation == copy.annotation(index)
            assert record.annotation.label == example["label"]
            np.testing.assert_array_equal(Image.open(io.BytesIO(record.image)), example["image"])
    assert len({source.origin(i) for i in range(len(source))}) == len(source)
    assert bool(source.info.notes) == (split != real)
    assert "tensorflow" not in sys.modules


def test_it_is_opened_by_name_from_the_usual_place(data_dir, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    name, entry = find_set("tfds:shapes:1.2.0")
    assert entry.splits == ("train", "test")

    class Data:
        root = ""

    assert len(open_set(name, "train", Data)) == 5
    assert main(["check", "tfds:shapes", "--workers", "1"]) == 0
    assert "5 images" in capsys.readouterr().out


def test_versions_and_configurations(data_dir):
    folder = data_dir / "shapes"
    (folder / "1.10.0").mkdir()
    with pytest.raises(JaxpartError, match=r"1\.10\.0"):
        Tfds("tfds:shapes", str(data_dir), "train")  # the newest, which is empty
    assert len(Tfds("tfds:shapes:1.2.0", str(data_dir), "train")) == 5
    with pytest.raises(JaxpartError, match=r"version 3\.0\.0; it has 1\.2\.0, 1\.10\.0"):
        Tfds("tfds:shapes:3.0.0", str(data_dir), "train")
    for config in ("large", "small"):
        (data_dir / "many" / config / "1.0.0").mkdir(parents=True)
    with pytest.raises(JaxpartError, match="large, small"):
        Tfds("tfds:many", str(data_dir), "train")


@pytest.mark.parametrize("name", ["tfds:", "tfds:../shapes", "tfds:shapes/..", "tfds:shapes:1"])
def test_other_names_are_refused(data_dir, name):
    with pytest.raises(JaxpartError, match="write tfds:NAME"):
        Tfds(name, str(data_dir), "train")


def edit(path, change):
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def test_tfrecord_is_told_with_the_command(data_dir):
    folder = data_dir / "shapes/1.2.0"
    edit(folder / "dataset_info.json", lambda tree: tree.update(fileFormat="tfrecord"))
    with pytest.raises(JaxpartError, match=r"--out_dir=OTHER_DATA_DIR/shapes/1\.2\.0`"):
        Tfds("tfds:shapes", str(data_dir), "train")


def test_no_module_is_imported_for_a_feature(data_dir):
    def change(tree):
        label = tree["featuresDict"]["features"]["label"]
        label["pythonClassName"] = "antigravity.Label"

    edit(data_dir / "shapes/1.2.0/features.json", change)
    with pytest.raises(JaxpartError, match=r"antigravity\.Label"):
        Tfds("tfds:shapes", str(data_dir), "train")
    assert "antigravity" not in sys.modules


def test_numbers_of_strangers_are_bounded(data_dir):
    folder = data_dir / "shapes/1.2.0"

    def many_records(tree):
        for split in tree["splits"]:
            split["shardLengths"] = [str(10**15)]

    def many_classes(tree):
        tree["featuresDict"]["features"]["label"]["classLabel"]["numClasses"] = str(10**12)

    edit(folder / "dataset_info.json", many_records)
    with pytest.raises(JaxpartError, match="damaged or incomplete"):
        Tfds("tfds:shapes", str(data_dir), "train")
    (folder / "label.labels.txt").unlink()
    edit(folder / "features.json", many_classes)
    with pytest.raises(JaxpartError, match="unknown number of classes"):
        Tfds("tfds:shapes", str(data_dir), "train")


def test_a_set_without_a_class_is_refused(data_dir):
    edit(
        data_dir / "shapes/1.2.0/features.json",
        lambda tree: [tree["featuresDict"]["features"].pop(key) for key in ("label", "species")],
    )
    with pytest.raises(JaxpartError, match="0 features that could be its class"):
        Tfds("tfds:shapes", str(data_dir), "train")


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json", "*train.array_record*"])
def test_damage_is_one_sentence(data_dir, file):
    (path,) = (data_dir / "shapes/1.2.0").glob(file)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(JaxpartError) as told:
        Tfds("tfds:shapes", str(data_dir), "train")
    assert "\n" not in str(told.value)


def test_it_is_not_prepared_again(data_dir, tmp_path, capsys):
    assert main(["prepare", "tfds:shapes", "--root", str(data_dir), "--out", str(tmp_path)]) == 2
    assert "already" in capsys.readouterr().err


@pytest.fixture
def pets(tmp_path):
    Pets(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    return tmp_path


TRIMAP = Stated("segmentation_mask", ("1=pet", "2=not pet"), (3,))


def test_label_maps_are_those_that_tfds_reads(pets):
    source = Tfds("tfds:pets", str(pets), "test", TRIMAP)
    assert source.info.mask_names == {"object": ("background", "pet", "not pet")}
    wanted = tfds.builder_from_directory(pets / "pets/4.0.0").as_data_source(split="test")
    for index, example in enumerate(wanted):
        record = source[index]
        assert record.annotation == source.annotation(index)
        assert record.annotation.label == example["label"]
        values = example["segmentation_mask"][..., 0]
        labels = read_mask(record, "object", 3, values.shape)
        np.testing.assert_array_equal(labels, np.array([0, 1, 2, 255])[values])
    named = Tfds("tfds:pets", str(pets), "test", Stated("named/map", (), (0, 3)))
    assert named.info.mask_names["object"] == ("background", "pet", "ground")
    np.testing.assert_equal(named[0].masks, source[0].masks)
    assert named.info.version != source.info.version


def test_label_maps_do_not_read_the_classes_of_all(pets, monkeypatch):
    monkeypatch.setattr(Tfds, "_examples", None)
    for number, key in enumerate(("train/0", "train/1")):
        assert Tfds("tfds:pets", str(pets), "train", TRIMAP)[number].annotation.id == key


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        (Stated("segmentation_mask"), r"does not say what the values .* mean; state them"),
        (
            Stated("segmentation_mask", ("1=pet",), (3,)),
            r"train/0 \(segmentation_mask\) holds 2, which",
        ),
        (Stated("mask", ("1=pet",)), r"no feature 'mask' .*; its features are .*segmentation_mask"),
        (Stated("named/mask", ("1=pet",)), r"no feature 'named/mask' .*; there are map"),
        (Stated("label/mask", ("1=pet",)), r"no feature 'label/mask' .*; there are none below"),
        (Stated("label", ("1=pet",)), r"'label' .* is a ClassLabel, but label maps are an Image"),
        (Stated("segmentation_mask", ("pet",)), r"holds \"?'pet'\"?; give VALUE=NAME"),
        (Stated("segmentation_mask", ("256=pet",)), "value of 0 to 255"),
        (Stated("segmentation_mask", ("1=pet", "2=pet")), "the name 'pet' twice"),
        (Stated("segmentation_mask", ("1=pet", "2=other"), (2,)), "the value 2 twice"),
    ],
)
def test_what_is_stated_of_label_maps_is_checked(pets, stated, told):
    with pytest.raises(JaxpartError, match=told) as error:
        Tfds("tfds:pets", str(pets), "train", stated)
    assert "\n" not in str(error.value)


def test_label_maps_are_checked_by_the_command(pets, capsys):
    stated = ["--label-map", "segmentation_mask", "--classes", "1=pet", "2=not pet"]
    command = ["check", "tfds:pets", "--root", str(pets), *stated]
    assert main([*command, "--ignored", "3"]) == 0
    assert "2 labels of mask 'object'" in capsys.readouterr().out
    assert main(command) == 1
    assert "holds 3, which the configuration does not describe" in capsys.readouterr().out
    assert main([*command, "--ignored", "256"]) == 1
    assert "give values of 0 to 255" in capsys.readouterr().out


def test_segmentation_takes_a_set_by_its_name(pets):
    config = part_config("ibot", None, projector=True)
    config.data.root = str(pets)
    config.data.tfds.update(label_map=TRIMAP.label_map, classes=TRIMAP.classes, ignored=(3,))
    config.segmentation.sets = ("tfds:pets",)
    config.segmentation.settings.tfds.crop = 32
    config.segmentation.settings.tfds.stride = 64
    with pytest.raises(JaxpartError, match=r"settings\.tfds\.stride is 64"):
        check_options(config.segmentation)
    config.segmentation.settings.tfds.stride = 32
    check_options(config.segmentation)
    data = segmentation_set("tfds:pets", config)
    assert (data.name, data.classes, data.crop) == ("tfds:pets", ("pet", "not pet"), 32)
    assert (len(data.train), len(data.test)) == (4, 3)


def test_classes_are_read_once_and_kept(data_dir, monkeypatch):
    def labels(source):
        return [source.annotation(i).label for i in range(len(source))]

    wanted = labels(Tfds("tfds:shapes", str(data_dir), "train"))
    folder = user_cache() / "annotations"
    (kept,) = folder.glob("*/*")
    with monkeypatch.context() as patch:
        patch.setattr(Tfds, "_examples", None)
        assert labels(Tfds("tfds:shapes", str(data_dir), "train")) == wanted
    kept.write_bytes(kept.read_bytes()[:-3])
    assert labels(Tfds("tfds:shapes", str(data_dir), "train")) == wanted
    shutil.rmtree(data_dir / "shapes")
    Shapes(data_dir=data_dir, file_format="array_record").download_and_prepare()
    labels(Tfds("tfds:shapes", str(data_dir), "train"))
    assert len(list(folder.glob("*/*"))) == 2  # other files, of the same name
    shutil.rmtree(folder)
    folder.write_text("no folder")
    assert labels(Tfds("tfds:shapes", str(data_dir), "train")) == wanted


NAMES = ("nose", "wrist", "ankle")


def person(number):
    """Three keypoints of an instance: one seen, one hidden, one seen but for every third."""
    x, y = 3.0 + number, 5.5 + number
    third = [0, 0, 0] if number % 3 == 2 else [20 - x, y, 2]
    return np.array([[x, y, 2], [x + 4, y, 1], third], np.float32)


class People(tfds.core.GeneratorBasedBuilder):
    """Persons as in COCO, and the same numbers in other forms, of which some are not understood."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        tensor = tfds.features.Tensor
        features = {
            "image": tfds.features.Image(),
            "objects": tfds.features.Sequence(
                {
                    "keypoints": tensor(shape=(3, 3), dtype=np.float32),
                    "flat": tensor(shape=(9,), dtype=np.float32),
                    "no_v": tensor(shape=(3, 2), dtype=np.float32),
                    "bbox": tfds.features.BBoxFeature(),
                }
            ),
            "first": tensor(shape=(3, 3), dtype=np.float32),
            "shares": tensor(shape=(3, 3), dtype=np.float32),
            "score": tensor(shape=(3, 3), dtype=np.float32),
            "name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(3), "test": self._generate_examples(4)}

    def _generate_examples(self, count):
        for i in range(count):
            points = [person(i + n) for n in range(i)]
            yield (
                i,
                {
                    "image": jpeg(i),
                    "objects": [
                        {
                            "keypoints": p,
                            "flat": p.ravel(),
                            "no_v": p[:, :2],
                            "bbox": tfds.features.BBox(0.0, 0.0, 1.0, 1.0),
                        }
                        for p in points
                    ],
                    "first": person(i),
                    "shares": person(i) / np.float32([32, 24, 1]),
                    "score": person(i) * np.float32([1, 1, 0.25]),
                    "name": "somebody",
                },
            )


@pytest.fixture
def people(tmp_path):
    People(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    return tmp_path


@pytest.mark.parametrize("path", ["objects/keypoints", "objects/flat", "first"])
def test_keypoints_are_those_that_tfds_reads(people, path):
    source = Tfds("tfds:people", str(people), "test", Stated(keypoints=path, parts=NAMES))
    assert source.info.part_names == {1: "nose", 2: "wrist", 3: "ankle"}
    wanted = tfds.builder_from_directory(people / "people/1.0.0").as_data_source(split="test")
    for index, example in enumerate(wanted):
        points = example["first"] if path == "first" else example["objects"]["keypoints"]
        points = np.reshape(points, (-1, 3, 3))
        record, known = source[index], source.annotation(index)
        assert (record.annotation.id, known.size) == (known.id, (32, 24))
        for annotation in (record.annotation, known):
            found = annotation.keypoints
            np.testing.assert_array_equal(found.xy, points[..., :2].reshape(-1, 2))
            np.testing.assert_array_equal(found.visible, points[..., 2].ravel() == 2)
            np.testing.assert_array_equal(found.part, [1, 2, 3] * len(points))
            assert len(set(found.instance.tolist())) == len(points)


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        (Stated(keypoints="objects/keypoints"), "does not name the keypoints .*; name them"),
        (Stated(keypoints="objects/points", parts=NAMES), "no feature .*; there are .*keypoints"),
        (
            Stated(keypoints="first", parts=("a", "b", "a")),
            "parts names 'a' twice; name each keypoint",
        ),
        (
            Stated(keypoints="name", parts=NAMES),
            r"'name' \(.*keypoints\) holds no numbers",
        ),
        (Stated(keypoints="objects", parts=NAMES), "'objects' .* holds no numbers"),
        (
            Stated(keypoints="objects/keypoints", parts=NAMES[:2]),
            r"shape \[., 3, 3\], .*, 2, 3\]",
        ),
        (Stated(keypoints="objects/no_v", parts=NAMES), r"shape \[., 3, 2\]"),
        (Stated(keypoints="image", parts=NAMES), "'image' .* is no array of keypoints"),
        (Stated(keypoints="shares", parts=NAMES), "between 0 and 1, .*; give them in pixels"),
        (Stated(keypoints="score", parts=NAMES), r"visibility v other than 0 .*COCO's format"),
    ],
)
def test_keypoints_that_are_not_understood_are_told(people, stated, told):
    def read():
        return Tfds("tfds:people", str(people), "train", stated).annotation(0)

    with pytest.raises(JaxpartError, match=told) as error:
        read()
    assert "\n" not in str(error.value)


def test_instances_of_different_lengths_are_told(people):
    features = tfds.builder_from_directory(people / "people/1.0.0").info.features
    keypoints = KeypointFeature("people", features, Stated(keypoints="first", parts=NAMES))
    ragged = {"first": [np.zeros(9, np.float32), np.zeros(0, np.float32)]}
    with pytest.raises(
        JaxpartError, match=r"image 3: .* v of all 3 stated parts for every instance"
    ):
        keypoints.read(ragged, "image 3")


def test_parts_of_a_set_are_stated(people):
    config = part_config("ibot", None, projector=True)
    config.data.root = str(people)
    with pytest.raises(JaxpartError, match=r"state the feature with its keypoints"):
        retrieval_set("tfds:people", config.data)
    config.data.tfds.update(keypoints="objects/keypoints", parts=NAMES)
    source, selection = retrieval_set("tfds:people", config.data)
    assert (source.info.split, list(selection.parts.values())) == ("test", list(NAMES))
    near = dataclasses.replace(selection, min_dist=1)
    assert len(part_patches(source, near)) == 8  # of the four instances with two seen
    train, test, _ = classification_sets("tfds:people", config.data)
    assert (len(train), len(test)) == (3, 4)


BIRDS = """
import io
import tensorflow_datasets as tfds
from PIL import Image
from drawing import colour

class Birds(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        label = tfds.features.ClassLabel(names=["wren", "robin"])
        features = tfds.features.FeaturesDict({"image": tfds.features.Image(), "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(3), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for i in range(count):
            file = io.BytesIO()
            Image.new("RGB", (8, 8), colour(i)).save(file, "PNG")
            file.seek(0)
            yield i, {"image": file, "label": i % 2}
"""


def test_a_builder_that_needs_tensorflow_is_told_and_leaves_nothing(tmp_path, capsys):
    arrays = BIRDS.replace(
        '{"image": file,', '{"image": __import__("numpy").zeros((8, 8, 3), "u1"),'
    )
    (tmp_path / "arrays.py").write_text(arrays.replace("Birds", "Arrays"))
    (tmp_path / "drawing.py").write_text("def colour(i):\n    return (40 * i, 0, 0)\n")
    assert main(["prepare", f"{tmp_path}/arrays.py:Arrays", "--out", f"{tmp_path}/out"]) == 2
    assert "arrays.py:Arrays needs TensorFlow, without which it is" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_template_of_a_builder_is_named_by_its_folder(tmp_path, capsys, monkeypatch):
    pytest.importorskip("importlib_resources")  # which tensorflow-datasets needs for its template
    monkeypatch.setattr(sys, "path", list(sys.path))
    template = BIRDS.replace("class Birds", "class Builder").replace(
        "from drawing", "from .drawing"
    )
    for file, text in (
        ("__init__.py", ""),
        ("geese_dataset_builder.py", template),
        ("drawing.py", "def colour(i):\n    return (40 * i, 0, 0)\n"),
    ):
        layouts.write(tmp_path / "geese" / file, text)
    path = f"{tmp_path}/geese/geese_dataset_builder.py:Builder"
    assert main(["prepare", path, "--out", str(tmp_path / "out")]) == 0
    assert "open it as tfds:geese" in capsys.readouterr().out


def test_a_builder_of_ones_own_comes_in_by_its_module(tmp_path, monkeypatch, capsys):
    (tmp_path / "birds.py").write_text(BIRDS)
    (tmp_path / "drawing.py").write_text("def colour(i):\n    return (40 * i, 0, 0)\n")
    out = str(tmp_path / "out")
    assert main(["prepare", f"{tmp_path}/birds.py:Birds", "--out", out]) == 0
    assert "open it as tfds:birds" in capsys.readouterr().out
    assert len(Tfds("tfds:birds", out, "train")) == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["birds"]
    fault = BIRDS.replace("file = io", 'open("photos/labels.csv"); file = io')
    (tmp_path / "fileless.py").write_text(fault.replace("Birds", "Fileless"))
    assert main(["prepare", f"{tmp_path}/fileless.py:Fileless", "--out", out]) == 2
    told = capsys.readouterr().err
    assert "cannot be prepared" in told
    assert "photos/labels.csv" in told
    monkeypatch.syspath_prepend(tmp_path)
    for name, told in (
        ("drawing:colour", "it is not a GeneratorBasedBuilder"),
        ("drawing:Wrens", "has no attribute 'Wrens'"),
        ("no_birds:Birds", "No module named 'no_birds'"),
        (f"{tmp_path}/none.py:Birds", "none.py does not exist"),
    ):
        assert main(["prepare", name, "--out", out]) == 2
        assert told in capsys.readouterr().err
