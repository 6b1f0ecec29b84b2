"""A tensorflow-datasets feature with keypoints in COCO's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxpart.data.coco_file import HIDDEN, INSTANCE_GAP, SEEN
from jaxpart.data.sets.tfds_features import Stated, feature_at, value_at
from jaxpart.data.source import Keypoints
from jaxpart.errors import JaxpartError, printable

_FIELD = "config.data.tfds.keypoints"


class KeypointFeature:
    """Keypoints of each instance as x, y in pixels and v (2: visible), in the order of the stated parts.

    Attributes:
      path: Path of the feature.
      part_names: Name of each part by its id, from 1.
    """

    path: str
    part_names: dict[int, str]

    def __init__(self, name: str, features: Any, stated: Stated) -> None:
        """Checks the description.

        Args:
          name: The data set.
          features: Its features.
          stated: The description.

        Raises:
          JaxpartError: The feature does not exist or is not numeric, or the parts are not named, each once.
        """
        self.path = stated.keypoints
        feature = feature_at(name, features, self.path, "keypoints")
        dtype = getattr(getattr(feature, "feature", feature), "np_dtype", None)
        if isinstance(dtype, (dict, type(None))) or np.dtype(dtype).kind not in "iuf":
            raise JaxpartError(
                f"{name}: its feature {self.path!r} ({_FIELD}) holds no numbers; name one with x, y and v "
                "of each keypoint"
            )
        if not stated.parts:
            raise JaxpartError(
                f"{name} does not name the keypoints of {self.path!r}; name them in order in "
                "config.data.tfds.parts, as ('nose', 'left_eye')"
            )
        twice = next(
            (part for i, part in enumerate(stated.parts) if part in stated.parts[:i]), None
        )
        if twice is not None:
            raise JaxpartError(
                f"config.data.tfds.parts names {printable(repr(twice))} twice; name each keypoint once, in "
                f"the order of {self.path!r}"
            )
        self.part_names = dict(enumerate(stated.parts, 1))

    def read(self, example: Mapping[str, Any], where: str) -> Keypoints:
        """The keypoints of an example.

        Raises:
          JaxpartError: They are not COCO keypoints of the stated parts.
        """
        parts = len(self.part_names)
        value = value_at(example, self.path)
        try:
            numbers = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            raise JaxpartError(
                f"{where}: the feature {self.path!r} ({_FIELD}) is no array of keypoints; give x, y and v "
                f"of all {parts} stated parts for every instance, v = 0 where unlabelled"
            ) from None
        is_valid = numbers.shape[-2:] == (parts, 3) or numbers.shape[-1:] == (3 * parts,)
        if numbers.size and not is_valid:
            raise JaxpartError(
                f"{where}: the feature {self.path!r} ({_FIELD}) has the shape {list(numbers.shape)}, which "
                f"is not [instances, {parts}, 3]: x, y and v of the {parts} stated parts"
            )
        points = numbers.reshape(-1, 3)
        seen, instances = points[:, 2] == SEEN, len(points) // parts
        if not np.isin(points[:, 2], (0, HIDDEN, SEEN)).all():
            raise JaxpartError(
                f"{where}: the feature {self.path!r} ({_FIELD}) has a visibility v other than 0 (not "
                "labelled), 1 (hidden) and 2 (seen); give keypoints in COCO's format"
            )
        xy = points[:, :2]
        if not np.isfinite(xy[seen]).all():
            raise JaxpartError(
                f"{where}: a visible keypoint of {self.path!r} is not a number; fix it"
            )
        if seen.sum() > 1 and (np.abs(xy[seen]) <= 1).all():
            raise JaxpartError(
                f"{where}: the keypoints of {self.path!r} lie between 0 and 1, as if relative to the "
                "image; give them in pixels"
            )
        return Keypoints(
            part=np.tile(np.arange(1, parts + 1), instances),
            xy=xy,
            visible=seen,
            instance=np.repeat(np.arange(instances) * INSTANCE_GAP, parts),
        )
