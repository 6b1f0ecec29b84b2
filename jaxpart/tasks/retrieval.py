"""Part retrieval (paper, section 4.1; PROTOCOL.md): does a part find the same part of other objects?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxpart import features
from jaxpart.data.parts import PartSelection, Patch, part_patches
from jaxpart.data.patch_images import read_patches
from jaxpart.data.source import Source
from jaxpart.encoders.encoder import Encoder
from jaxpart.errors import JaxpartError
from jaxpart.metrics.average_precision import average_precision
from jaxpart.progress import Progress


def part_retrieval(
    encoder: Encoder, source: Source, selection: PartSelection, config: Any, progress: Progress
) -> Iterator[tuple[str, float | int]]:
    """Retrieves every part patch of a data set with every other.

    Args:
      encoder: The frozen encoder.
      source: The data set.
      selection: Its parts.
      config: `batch_size`, `patch_pixels` (0: the encoder's own), `representations`,
        `exclude_self` and `on_error` ("raise" or "skip" images that cannot be read).
      progress: Shows how far it is.

    Yields:
      "patches", "skipped" and, for each representation, "embedding/AP", "embedding/mAP" and
      "embedding/part/NAME", as shares of 1.

    Raises:
      JaxpartError: There are no patches, an image cannot be read, or a representation is unknown.
    """
    features.check_representations(encoder, config.representations)
    patches = part_patches(source, selection)
    if not patches:
        raise JaxpartError(
            f"{source.info.name} ({source.info.split}) has no part patches: no keypoint of "
            f"{', '.join(selection.parts.values())} has another one {2 * selection.min_dist:g} to "
            f"{2 * selection.max_dist:g} pixels away"
        )
    size = config.patch_pixels or encoder.config.image_size[0]
    encoder.config.grid_of(size, size)
    kept: list[Patch] = []
    skipped: list[JaxpartError] = []

    def readable() -> Iterator[np.ndarray]:
        for i, crop in read_patches(source, patches, size=size, on_error=config.on_error):
            if isinstance(crop, JaxpartError):
                skipped.append(crop)
            else:
                kept.append(patches[i])
                yield crop

    with progress.bar(f"{source.info.name}: encoding patches", len(patches)) as advance:
        encoded = features.extract(
            encoder,
            readable(),
            config.representations,
            batch_size=config.batch_size,
            progress=advance,
        )
    yield "patches", len(kept)
    yield "skipped", len(skipped)
    if skipped:
        progress.say(f"{len(skipped)} patches skipped; the first: {skipped[0]}")
    parts = [selection.parts[patch.part] for patch in kept]
    for name, vectors in encoded.items():
        result = average_precision(vectors, parts, exclude_self=config.exclude_self)
        yield f"{name}/AP", result.ap
        yield f"{name}/mAP", result.mean_ap
        for part, value in result.per_part.items():
            yield f"{name}/part/{part}", value
