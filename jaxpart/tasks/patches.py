"""Part patches for retrieval, and the representations of an encoder by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxpart.data.parts import PartSelection, Patch, no_patches, part_patches, unseen_parts
from jaxpart.data.source import Source
from jaxpart.data.views import patch_view
from jaxpart.encoders.configured import permutation_seed
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.errors import JaxpartError
from jaxpart.features.representations import check_representations, has, projector_layers
from jaxpart.runs.progress import Progress
from jaxpart.tasks.plans import Need, side_of


def layer_names(encoder: FrozenEncoder, tokens: Sequence[str]) -> tuple[str, ...]:
    """Representations from the first block to the last layer of the projector, in order.

    Tokens are features of every block's output and of the final norm's, "embedding", "cls_token", …;
    those that the encoder lacks are left out.

    Raises:
      JaxpartError: The encoder has none of them.
    """
    available = {"embedding", *(f"{name}_token" for name in encoder.prefix)}
    kept = [name for name in tokens if name in available]
    if not kept:
        raise JaxpartError(
            f"the {encoder.name} encoder has none of config.layers.tokens, {', '.join(tokens)}; it has "
            f"{', '.join(sorted(available))}"
        )
    blocks = [f"block{i}/{name}" for i in range(encoder.depth) for name in kept]
    final = [name for name in kept if has(encoder, name)]  # functions may return blocks alone
    return (*blocks, *final, *projector_layers(encoder))


def find_patches(source: Source, selection: PartSelection, progress: Progress) -> list[Patch]:
    """All part patches of a data set; reports parts without patches.

    Raises:
      JaxpartError: There are no patches.
    """
    with progress.bar(f"{source.info.name}: finding part patches", None):
        patches = part_patches(source, selection)
    progress.say_once(source.info.remarks)
    if not patches:
        raise JaxpartError(no_patches(source, selection))
    unseen = unseen_parts(patches, selection)
    if unseen:
        progress.say_once(
            [f"{source.info.name} ({source.info.split}): no patches of {', '.join(unseen)}"]
        )
    return patches


def need_patches(
    encoder: FrozenEncoder,
    source: Source,
    patches: Sequence[Patch],
    names: Sequence[str],
    config: Any,
) -> Need:
    """The view of part patches for retrieval.

    Raises:
      JaxpartError: The encoder lacks a representation, or cannot take images of that size.
    """
    options = config.retrieval
    check_representations(encoder, names)
    view = patch_view(
        source,
        patches,
        size=side_of(encoder, options.patch_pixels, "config.retrieval.patch_pixels"),
        on_error=options.on_error,
        permuted=permutation_seed(config),
    )
    return Need(encoder, view, tuple(names), options.batch_size, options.on_error)
