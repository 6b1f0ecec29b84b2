"""Checks of the segmentation options, before anything is read."""

from __future__ import annotations

import math
from typing import Any

from ml_collections import ConfigDict

from jaxpart.data.resizing import check_resize
from jaxpart.data.sets import find_set
from jaxpart.data.sets.tfds_folders import PREFIX
from jaxpart.errors import JaxpartError

_FIELD = "config.segmentation"
_MOST = 10**9
TFDS = "tfds"


def setting_name(name: str) -> str:
    """The entry of `segmentation.settings` for a data set; all of tensorflow-datasets share one."""
    return TFDS if name.startswith(PREFIX) else name


def setting_of(options: Any, name: str) -> Any:
    """The setting of a data set, with its name as `data`."""
    setting = options.settings[setting_name(name)]
    return ConfigDict({**setting, "data": name}) if name.startswith(PREFIX) else setting


def check_options(options: Any) -> None:
    """Checks the configuration's `segmentation`.

    Raises:
      JaxpartError: A value is out of range.
    """
    for field, example in (("sets", "lip"), ("readouts", "paper")):
        if not options[field]:
            raise JaxpartError(
                f"{_FIELD}.{field} is empty; name at least one, as in ({example!r},)"
            )
    for field in ("sets", "readouts", "shares"):
        values = list(options[field])
        repeated = next((value for value in values if values.count(value) > 1), None)
        if repeated is not None:
            raise JaxpartError(f"{_FIELD}.{field} names {repeated} twice; name it once")
    for name in options.sets:
        if setting_name(name) not in options.settings:
            raise JaxpartError(
                f"there is no segmentation set {name!r}; choose from "
                f"{', '.join(sorted({*options.settings} - {TFDS}))}, tfds:NAME"
            )
        _check_setting(setting_of(options, name), f"{_FIELD}.settings.{setting_name(name)}")
    for name, least in (
        ("iterations", 1),
        ("batch_size", 1),
        ("window_batch", 1),
        ("train_images", 0),
        ("test_images", 0),
        ("pictures", 0),
        ("warmup", 0),
        ("incontext.images", 0),
        ("incontext.neighbours", 1),
    ):
        _check_whole(_value(options, name), f"{_FIELD}.{name}", least)
    _check_whole(options.workers, f"{_FIELD}.workers", 0, most=1024)
    if options.warmup > options.iterations:
        raise JaxpartError(
            f"{_FIELD}.warmup is {options.warmup}, more than the {options.iterations} iterations; give 0 "
            f"to {options.iterations}"
        )
    for name in ("learning_rate", "incontext.temperature"):
        value = _value(options, name)
        if not _is_finite(value) or value <= 0:
            raise JaxpartError(f"{_FIELD}.{name} is {value}; give a finite number above 0")
    if not _is_finite(options.weight_decay) or options.weight_decay < 0:
        raise JaxpartError(
            f"{_FIELD}.weight_decay is {options.weight_decay}; give a finite number, 0 or more"
        )
    for share in options.shares:
        if not _is_finite(share) or not 0 < share < 1:
            raise JaxpartError(
                f"{_FIELD}.shares holds {share}: give shares of the training images between 0 and 1"
            )
    check_resize(options.resize, f"{_FIELD}.resize")


def _check_setting(setting: Any, prefix: str) -> None:
    """Checks the splits and sizes of one data set."""
    _, entry = find_set(setting.data)
    for name in ("train_split", "test_split"):
        if setting[name] not in entry.all_splits:
            raise JaxpartError(
                f"{prefix}.{name} cannot be {setting[name]!r}; {setting.data} has "
                f"{', '.join(entry.all_splits)}"
            )
    if setting.kind not in ("part", "object"):
        raise JaxpartError(
            f"{prefix}.kind cannot be {setting.kind!r}; choose between part and object"
        )
    _check_whole(setting.crop, f"{prefix}.crop", 1)
    _check_whole(setting.stride, f"{prefix}.stride", 1)
    if setting.stride > setting.crop:
        raise JaxpartError(
            f"{prefix}.stride is {setting.stride}: windows of {setting.crop} pixels would leave gaps; give "
            f"1 to {setting.crop}"
        )
    for name in ("train_scale", "test_scale"):
        scale = setting[name]
        if len(scale) != 2:
            raise JaxpartError(f"{prefix}.{name} is {scale}; give the (longest, shortest) side")
        for side in scale:
            _check_whole(side, f"a side of {prefix}.{name}", 1)


def _value(options: Any, name: str) -> Any:
    for part in name.split("."):
        options = options[part]
    return options


def _check_whole(value: Any, where: str, least: int, most: int = _MOST) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not (least <= value <= most):
        raise JaxpartError(f"{where} is {value}; give a whole number, {least} to {most}")


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
