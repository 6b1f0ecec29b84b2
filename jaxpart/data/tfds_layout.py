"""The folder layout of tensorflow-datasets, so that it can read prepared data sets (without TensorFlow).

`tfds.builder_from_directory(FOLDER).as_data_source()` finds array_record shards, features.json,
dataset_info.json and the names of the classes. They are written here, since importing
tensorflow_datasets to write them fails where TensorFlow is blocked. What tensorflow-datasets itself
would write for the same features is the test's reference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxpart.data.source import DatasetInfo, Record

VERSION = "1.0.0"
"""Version folder and version of the format; readers refuse any other."""

_FEATURES = "tensorflow_datasets.core.features"


def shard_name(name: str, split: str, index: int, count: int) -> str:
    """File name of a shard."""
    return f"{name}-{tfds_split(split)}.array_record-{index:05d}-of-{count:05d}"


def tfds_split(split: str) -> str:
    """The split's name in tensorflow-datasets, where "all" means every split."""
    return "full" if split == "all" else split


def features_of(record: Record, info: DatasetInfo) -> dict[str, bytes | np.ndarray]:
    """A record as the features of a tf.train.Example."""
    annotation = record.annotation
    features: dict[str, bytes | np.ndarray] = {
        "id": annotation.id.encode(),
        "image": record.image,
        **{f"masks/{kind}": data for kind, data in record.masks.items()},
    }
    if info.class_names:
        features["label"] = np.array([-1 if annotation.label is None else annotation.label])
    if annotation.keypoints is not None:
        keypoints = annotation.keypoints
        features["keypoints/part"] = keypoints.part
        features["keypoints/xy"] = keypoints.xy.astype("<f8").tobytes()
        features["keypoints/visible"] = keypoints.visible
        features["keypoints/instance"] = keypoints.instance
    return features


def features_json(info: DatasetInfo) -> str:
    """features.json, of the `info` of any split."""
    features = {"id": _feature("text_feature.Text", text={}), "image": _image(3)}
    if info.class_names:
        features["label"] = _feature(
            "class_label_feature.ClassLabel", classLabel={"numClasses": str(len(info.class_names))}
        )
    if info.part_names:
        features["keypoints"] = _dict(
            part=_tensor("int64", -1),
            xy=_tensor("float64", -1, 2),
            visible=_tensor("bool", -1),
            instance=_tensor("int64", -1),
        )
    if info.mask_names:
        features["masks"] = _dict(**{kind: _image(1) for kind in info.mask_names})
    return _text(_dict(**features))


def labels_txt(info: DatasetInfo) -> str:
    """label.labels.txt: the names of the image-level classes."""
    return "\n".join(info.class_names) + "\n"


def dataset_info_json(
    name: str, description: str, splits: Mapping[str, tuple[Sequence[int], int]]
) -> str:
    """dataset_info.json.

    Args:
      name: The data set.
      description: One sentence.
      splits: (records of each shard, bytes of all) by split.
    """
    return _text(
        {
            "description": description,
            "fileFormat": "array_record",
            "moduleName": "jaxpart.data",
            "name": name,
            "splits": [
                {
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                    "name": tfds_split(split),
                    "numBytes": str(size),
                    "shardLengths": [str(length) for length in lengths],
                }
                for split, (lengths, size) in splits.items()
            ],
            "version": VERSION,
        }
    )


def _text(tree: Any) -> str:
    return json.dumps(tree, indent=4, sort_keys=True, ensure_ascii=False) + "\n"


def _feature(kind: str, **content: Any) -> dict[str, Any]:
    return {"pythonClassName": f"{_FEATURES}.{kind}", **content}


def _dict(**features: Any) -> dict[str, Any]:
    return _feature("features_dict.FeaturesDict", featuresDict={"features": features})


def _tensor(dtype: str, *shape: int) -> dict[str, Any]:
    encoding = "bytes" if dtype == "float64" else "none"
    content = {"dtype": dtype, "encoding": encoding, "shape": _shape(*shape)}
    return _feature("tensor_feature.Tensor", tensor=content)


def _image(channels: int) -> dict[str, Any]:
    content = {"dtype": "uint8", "shape": _shape(-1, -1, channels)}
    return _feature("image_feature.Image", image=content)


def _shape(*sizes: int) -> dict[str, Any]:
    return {"dimensions": [str(size) for size in sizes]}
