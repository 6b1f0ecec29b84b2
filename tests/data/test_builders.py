"""tensorflow-datasets reads what is prepared, without TensorFlow."""

import io
import sys
import types

import layouts
import numpy as np
import pytest
from PIL import Image

from jaxpart.data.critters import Critters
from jaxpart.data.preparing import prepare
from jaxpart.data.sets import open_set
from jaxpart.data.sets.cub import Cub
from jaxpart.data.sets.part_folder import part_folder
from jaxpart.errors import JaxpartError

tfds = pytest.importorskip("tensorflow_datasets")


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_critters_are_read_back(tmp_path):
    sources = {split: Critters(split, 5, image_size=32) for split in ("train", "test")}
    folder, _ = prepare("critters", sources, tmp_path, workers=1)
    builder = tfds.builder_from_directory(folder)
    assert builder.info.splits["train"].num_examples == 5
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


def test_a_users_own_script(tmp_path):
    import jaxpart.data.builders

    assert jaxpart.data.builders.SETS.keys() <= set(
        tfds.list_builders(with_community_datasets=False)
    )
    layouts.cub(tmp_path / "data")
    builder = tfds.builder("cub_parts", root=str(tmp_path / "data"), data_dir=str(tmp_path / "out"))
    builder.download_and_prepare()
    assert isinstance(builder, tfds.core.GeneratorBasedBuilder)
    assert "Wah" in builder.info.citation
    official = Cub(tmp_path / "data", "train")
    examples = builder.as_data_source(split="train")
    assert [example["id"].decode() for example in examples] == [
        official.annotation(i).id for i in range(len(official))
    ]
    prepared = open_set("cub", "all", types.SimpleNamespace(root=str(tmp_path / "out")))
    assert prepared.info == Cub(tmp_path / "data", "all").info
    with pytest.raises(JaxpartError, match=r"CUB_200_2011"):
        tfds.builder("cub_parts", root=str(tmp_path / "out"), data_dir=str(tmp_path / "b"))
    with pytest.raises(JaxpartError, match=r"holds no prepared cub_parts; .* pass root=FOLDER"):
        tfds.builder("cub_parts", data_dir=str(tmp_path / "b"))
