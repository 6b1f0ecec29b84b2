"""Settings of the segmentation data sets, and checks of the options before anything is read."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from jaxpart.data.sets import find_set
from jaxpart.data.sets.tfds_folders import PREFIX
from jaxpart.errors import JaxpartError
from jaxpart.runs.config_rules import one_of

TFDS = "tfds"


def setting_name(name: str) -> str:
    """The key of a data set in `segmentation.settings`; all of tensorflow-datasets share one."""
    return TFDS if name.startswith(PREFIX) else name


def setting_of(options: Any, name: str) -> Any:
    """The setting of a data set, with its name as `data`."""
    setting = options.settings[setting_name(name)]
    return ConfigDict({**setting, "data": name}) if name.startswith(PREFIX) else setting


def check_options(options: Any) -> None:
    """Checks what the per-field rules (`jaxpart.runs.config_fields`) cannot.

    Raises:
      JaxpartError: A setting is missing, its splits or its stride cannot be used, or the warmup is longer
        than the training.
    """
    for name in options.sets:
        if setting_name(name) not in options.settings:
            raise JaxpartError(
                f"there is no segmentation set {name!r}; choose from "
                f"{', '.join(sorted({*options.settings} - {TFDS}))}, tfds:NAME"
            )
        _check_setting(
            setting_of(options, name), f"config.segmentation.settings.{setting_name(name)}"
        )
    if options.warmup > options.iterations:
        raise JaxpartError(
            f"config.segmentation.warmup is {options.warmup}, more than the {options.iterations} "
            f"iterations; give 0 to {options.iterations}"
        )


def _check_setting(setting: Any, where: str) -> None:
    """Checks the splits and the stride of one data set."""
    splits = one_of(*find_set(setting.data)[1].all_splits)
    for name in ("train_split", "test_split"):
        if fault := splits.fault(setting[name]):
            raise JaxpartError(f"{where}.{name} {fault}")
    if setting.stride > setting.crop:
        raise JaxpartError(
            f"{where}.stride is {setting.stride}: windows of {setting.crop} pixels would leave gaps; give "
            f"1 to {setting.crop}"
        )
