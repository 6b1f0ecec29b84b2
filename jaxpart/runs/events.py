"""TensorBoard events, written without TensorFlow; optional."""

from __future__ import annotations

import pathlib
from typing import Any

from jaxpart.errors import JaxpartError
from jaxpart.io.files import on_disk


def event_writer(folder: pathlib.Path) -> Any:
    """A `tensorboardX.SummaryWriter` for a folder, to be shown by `tensorboard --logdir`.

    Raises:
      JaxpartError: The package is not installed, or the folder is in a bucket.
    """
    on_disk(folder, "TensorBoard events")
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise JaxpartError(
            "TensorBoard events need the package tensorboardX: pip install tensorboardX, or leave out "
            "--config.tensorboard"
        ) from None
    return SummaryWriter(str(folder))
