"""tensorflow-datasets reads what is prepared, without TensorFlow."""

import io
import json
import sys

import layouts
import numpy as np
import pytest
from PIL import Image

from jaxpart.data.critters import Critters
from jaxpart.data.preparing import prepare
from jaxpart.data.sets.cub import Cub
from jaxpart.data.sets.part_folder import part_folder
from jaxpart.data.tfds_layout import features_json

tfds = pytest.importorskip("tensorflow_datasets")


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_critters_are_read_back(tmp_path):
    sources = {split: Critters(split, 5, image_size=32) for split in ("train", "test")}
    folder, _ = prepare("critters", sources, tmp_path, workers=1, records_per_shard=2)
    builder = tfds.builder_from_directory(folder)
    assert builder.info.splits["train"].num_examples == 5
    assert builder.info.splits["train"].num_shards == 3
    assert builder.info.features["label"].names == list(sources["train"].info.class_names)
    for split, source in sources.items():
        examples = builder.as_data_source(split=split)
        assert len(examples) == len(source)
        for example, record in zip(examples, source, strict=True):
            assert example["id"].decode() == record.annotation.id
            assert example["label"] == record.annotation.label
            np.testing.assert_array_equal(example["image"], pixels(record.image))
            for kind, mask in record.masks.items():
                np.testing.assert_array_equal(example["masks"][kind][..., 0], pixels(mask))
            for field in ("part", "xy", "visible", "instance"):
                np.testing.assert_array_equal(
                    example["keypoints"][field], getattr(record.annotation.keypoints, field)
                )
    raw = builder.as_data_source(split="test", decoders={"image": tfds.decode.SkipDecoding()})
    assert raw[4]["image"] == sources["test"][4].image
    assert "tensorflow" not in sys.modules


def test_a_split_of_all_has_another_name(tmp_path):
    layouts.label_folder(tmp_path / "mine")
    folder, _ = prepare("part_folder", {"all": part_folder(tmp_path / "mine")}, tmp_path, workers=1)
    builder = tfds.builder("part_folder", data_dir=str(tmp_path))
    assert builder.data_dir == str(folder)
    assert len(builder.as_data_source(split="full")) == 2


def test_features_are_written_as_tfds_writes_them(tmp_path):
    layouts.cub(tmp_path)
    info = Cub(tmp_path).info
    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(num_classes=2),
            "keypoints": {
                "part": tfds.features.Tensor(shape=(None,), dtype=np.int64),
                "xy": tfds.features.Tensor(shape=(None, 2), dtype=np.float64, encoding="bytes"),
                "visible": tfds.features.Tensor(shape=(None,), dtype=np.bool_),
                "instance": tfds.features.Tensor(shape=(None,), dtype=np.int64),
            },
        }
    )
    features.save_config(str(tmp_path))
    assert json.loads(features_json(info)) == json.loads((tmp_path / "features.json").read_text())
