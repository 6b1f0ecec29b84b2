"""The tensorflow-datasets features that are read: image, class, and those that the user describes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpart.data.images import decode_indices
from jaxpart.data.label_maps import check_names
from jaxpart.data.masks import Labels
from jaxpart.errors import JaxpartError, printable
from jaxpart.labels import IGNORE

_MAX_CLASSES = 1_000_000  # untrusted, and becomes a list of names
_NAMED = re.compile(r"(\d{1,3})=(.*\S.*)")
_UNKNOWN = -1
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclasses.dataclass(frozen=True)
class Stated:
    """The user's description of a data set: the configuration's `data.tfds`.

    Attributes:
      label_map: Path of the feature with label maps, "a/b" for b in a; "": none.
      classes: "VALUE=NAME" of each class in the label maps, in the order of the new labels; by default
        those of a `LabeledImage`.
      ignored: Values in the label maps to ignore, 0 to 255.
      keypoints: Path of the feature with keypoints in COCO's format; "": none.
      parts: Name of each keypoint, in order.
    """

    label_map: str = ""
    classes: tuple[str, ...] = ()
    ignored: tuple[int, ...] = ()
    keypoints: str = ""
    parts: tuple[str, ...] = ()


def stated_in(config: Any) -> Stated:
    """The description in a configuration's `data`, or in command-line arguments."""
    fields = getattr(config, "tfds", None) or {}  # old runs lack it
    return Stated(
        label_map=fields.get("label_map", ""),
        classes=tuple(fields.get("classes", ())),
        ignored=tuple(fields.get("ignored", ())),
        keypoints=fields.get("keypoints", ""),
        parts=tuple(fields.get("parts", ())),
    )


def find_image(name: str, info: Any, features: Any, without: str) -> str:
    """Name of the image feature, other than `without`."""
    return _only(name, info, features.Image, "image", without)


def find_class(name: str, info: Any, features: Any) -> tuple[str, tuple[str, ...]]:
    """Name of the class feature, and of each label.

    Raises:
      JaxpartError: There is none, or there are several.
    """
    key = _only(name, info, features.ClassLabel, "class")
    if not 0 < (info.features[key].num_classes or 0) <= _MAX_CLASSES:
        raise JaxpartError(
            f"{name} has an unknown number of classes, or more than {_MAX_CLASSES:,}; choose another"
        )
    return key, tuple(info.features[key].names)


def _only(name: str, info: Any, kind: type, what: str, without: str = "") -> str:
    """The only feature of a kind, or the one in `supervised_keys`."""
    keys = [
        key for key, feature in info.features.items() if type(feature) is kind and key != without
    ]
    chosen = [key for key in keys if key in (info.supervised_keys or ())] or keys
    if len(chosen) != 1:
        raise JaxpartError(
            f"{name} has {len(chosen)} features that could be its {what}"
            f"{': ' + ', '.join(chosen) if chosen else ''}; choose a data set with one"
        )
    return chosen[0]


def only(features: Any, paths: Iterable[str]) -> Any:
    """The top-level features that contain the paths, so that others are not decoded."""
    return type(features)({key: features[key] for key in tree_of(paths, True)})


def tree_of(paths: Iterable[str], leaf: Any) -> dict[str, Any]:
    """A nested dictionary with a leaf at each path, as for tensorflow-datasets."""
    tree: dict[str, Any] = {}
    for path in paths:
        *above, last = path.split("/")
        subtree = tree
        for key in above:
            subtree = subtree.setdefault(key, {})
        subtree[last] = leaf
    return tree


def value_at(example: Mapping[str, Any], path: str) -> Any:
    """The value at a path of an example."""
    value: Any = example
    for key in path.split("/"):
        value = value[key]
    return value


def feature_at(name: str, features: Any, path: str, field: str) -> Any:
    """The feature at a path. Raises `JaxpartError` naming the configuration's `field` if there is none."""
    feature: Any = features
    for key in path.split("/"):
        feature = getattr(feature, "feature", feature)  # the element of a sequence
        children = dict(feature.items()) if hasattr(feature, "items") else {}
        if key not in children:
            raise JaxpartError(
                f"{name} has no feature {path!r} (config.data.tfds.{field}); "
                f"{'its features are' if feature is features else 'there are'} "
                f"{', '.join(children) or 'none below'}"
            )
        feature = children[key]
    return feature


class LabelMapFeature:
    """A feature with label maps, whose values become 1, 2, … (classes) and 255 (ignored).

    Attributes:
      path: Path of the feature.
      names: Name of each new label, background first, which no pixel has.
    """

    path: str
    names: tuple[str, ...]

    def __init__(self, name: str, features: Any, stated: Stated, kinds: tuple[type, ...]) -> None:
        """Checks the description.

        Args:
          name: The data set.
          features: Its features.
          stated: The description.
          kinds: Types of image features.

        Raises:
          JaxpartError: The feature does not exist or is not an image, or the classes are missing.
        """
        self.path = stated.label_map
        feature = feature_at(name, features, self.path, "label_map")
        if type(feature) not in kinds:
            raise JaxpartError(
                f"{name}: its feature {self.path!r} (config.data.tfds.label_map) is a "
                f"{type(feature).__name__}, but label maps are an Image; name another"
            )
        classes = stated.classes
        if not classes and 0 < (getattr(feature, "num_classes", None) or 0) <= IGNORE + 1:
            labels = enumerate(feature.names)
            classes = tuple(f"{i}={label}" for i, label in labels if i not in stated.ignored)
        self._table, names = _table(name, self.path, classes, stated.ignored)
        self.names = ("background", *names)
        check_names(name, self.names)

    def read(self, example: Mapping[str, Any], where: str) -> Labels:
        """The label map of an example, with the new labels.

        Raises:
          JaxpartError: It is not a PNG of one channel, or holds a value that is not described.
        """
        value = value_at(example, self.path)
        where = f"{where} ({self.path})"
        if not bytes(value[:8]) == _PNG:
            raise JaxpartError(f"{where} is not a PNG file, the only format that preserves labels")
        labels = decode_indices(bytes(value), where)
        is_wide = labels.dtype != np.uint8
        new = self._table[np.minimum(labels, IGNORE + 1) if is_wide else labels]
        if (new == _UNKNOWN).any():
            values = ", ".join(map(str, np.unique(labels[new == _UNKNOWN])[:5]))
            raise JaxpartError(
                f"{where} holds {values}, which the configuration does not describe; add it to "
                "config.data.tfds.classes, as '7=NAME', or to config.data.tfds.ignored"
            )
        return new.astype(np.uint8)


def _table(
    name: str, path: str, classes: Sequence[str], ignored: Sequence[int]
) -> tuple[np.ndarray, list[str]]:
    """The new label of each value, int16 [257] (the last: larger values), and the names of the classes."""
    table, names = np.full(IGNORE + 2, _UNKNOWN, np.int16), list[str]()
    if not classes:
        raise JaxpartError(
            f"{name} does not say what the values of {path!r} mean; state them in "
            "config.data.tfds.classes, as ('1=NAME', '2=NAME'), and in config.data.tfds.ignored"
        )
    for value in ignored:
        if not 0 <= value <= IGNORE:
            raise JaxpartError(
                f"config.data.tfds.ignored holds {value}; give values of 0 to {IGNORE}"
            )
        table[value] = IGNORE
    for label in classes:
        match = _NAMED.fullmatch(label)
        if match is None or int(match[1]) > IGNORE:
            raise JaxpartError(
                f"config.data.tfds.classes holds {printable(repr(label))}; give VALUE=NAME with a value "
                f"of 0 to {IGNORE}, as '1=NAME'"
            )
        value, class_name = int(match[1]), match[2].strip()
        if table[value] != _UNKNOWN or class_name in names:
            repeated = f"the name {class_name!r}" if class_name in names else f"the value {value}"
            raise JaxpartError(
                f"config.data.tfds states {repeated} twice, in classes or in ignored; state it once"
            )
        names.append(class_name)
        table[value] = len(names)
    return table, names
