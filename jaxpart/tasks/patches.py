"""Part patches as retrieval sees them, encoded once for all tasks that look at the same views."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from jaxpart.data.parts import PartSelection, Patch, no_patches, part_patches, unseen_parts
from jaxpart.data.source import Source
from jaxpart.data.views import patch_view
from jaxpart.encoders.configured import permutation_seed
from jaxpart.encoders.encoder import Encoder
from jaxpart.errors import JaxpartError
from jaxpart.features import extract as features
from jaxpart.features.pixels import PIXELS
from jaxpart.runs.progress import Progress


def layer_names(encoder: Encoder, tokens: Sequence[str]) -> tuple[str, ...]:
    """Representations from the first block to the last layer of the projector, in their order.

    Args:
      encoder: The encoder.
      tokens: What is taken of every block's output, and after the final norm: "embedding",
        "cls_token", … Those that the encoder does not have are left out.

    Raises:
      JaxpartError: It has none of them.
    """
    there = {"embedding", *(f"{name}_token" for name in encoder.config.prefix)}
    kept = [name for name in tokens if name in there]
    if not kept:
        raise JaxpartError(
            f"the {encoder.name} encoder has none of config.layers.tokens, {', '.join(tokens)}; it has "
            f"{', '.join(sorted(there))}"
        )
    blocks = [f"block{i}/{name}" for i in range(encoder.config.depth) for name in kept]
    return (*blocks, *kept, *features.projector_layers(encoder))


def patch_representations(encoder: Encoder, config: Any) -> tuple[str, ...]:
    """All representations that the tasks of a configuration want of retrieval's views, pixels included.

    Args:
      encoder: The encoder, `narrowed`.
      config: The whole configuration.

    Raises:
      JaxpartError: The encoder does not have one of them.
    """
    names: list[Sequence[str]] = []
    if "retrieval" in config.tasks:
        names.append(tuple(config.retrieval.representations))
    if "layers" in config.tasks:
        names.append(layer_names(encoder, config.layers.tokens))
    if names:
        names.append((PIXELS,))
    wanted = tuple(dict.fromkeys(itertools.chain.from_iterable(names)))
    features.check_representations(encoder, wanted)
    return wanted


def encoded_patches(
    encoder: Encoder,
    source: Source,
    selection: PartSelection,
    names: Sequence[str],
    config: Any,
    progress: Progress,
) -> tuple[features.Extracted, list[Patch]]:
    """The features of all part patches of a data set.

    Args:
      encoder: The frozen encoder.
      source: The data set.
      selection: Its parts.
      names: Representations, see `features.represent`.
      config: The whole configuration, of which `retrieval` says how patches are read: `batch_size`,
        `patch_pixels` (0: the encoder's own) and `on_error`.
      progress: Shows how far it is.

    Returns:
      The features, and the patches that could be read.

    Raises:
      JaxpartError: There are no patches, or an image cannot be read.
    """
    options = config.retrieval
    with progress.bar(f"{source.info.name}: finding part patches", None):
        patches = part_patches(source, selection)
    progress.say_once(source.info.remarks)
    if not patches:
        raise JaxpartError(no_patches(source, selection))
    none = unseen_parts(patches, selection)
    if none:
        progress.say_once(
            [f"{source.info.name} ({source.info.split}): no patches of {', '.join(none)}"]
        )
    view = patch_view(
        source,
        patches,
        size=options.patch_pixels or encoder.config.image_size[0],
        on_error=options.on_error,
        permuted=permutation_seed(config),
    )
    found = features.extract(
        encoder, view, names, config.features, progress, batch_size=options.batch_size
    )
    if found.skipped:
        progress.say(f"{len(found.skipped)} patches skipped; the first: {found.skipped[0]}")
    return found, [patches[i] for i in found.kept]
