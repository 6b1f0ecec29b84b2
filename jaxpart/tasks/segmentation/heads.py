"""Pixel heads on a frozen encoder: trained in one program with it, and applied to windows.

What a program is made of: uint8 pixels are normalised on the device, padding becomes 0 after that, the
encoder runs at the size of the crop, and heads read the patch tokens of blocks before the final norm.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float32, Int32, UInt8

from jaxpart import devices
from jaxpart.data.segmentation_transforms import inside
from jaxpart.encoders.encoder import Encoder
from jaxpart.errors import JaxpartError
from jaxpart.probes.incontext import Memory, make_memory, nearest_labels, patch_shares
from jaxpart.probes.pixel import (
    FeatureMap,
    PixelHeads,
    PixelState,
    paper_blocks,
    patch_map,
    training,
)
from jaxpart.tasks.segmentation.rules import for_segmentation
from jaxpart.tasks.segmentation.sliding import WindowLogits

_BLOCK = re.compile(r"block(\d+)")


def readouts(names: Sequence[str], depth: int) -> dict[str, tuple[int, ...]]:
    """The blocks that each head reads, by the head's name.

    Args:
      names: "paper" for one head on the paper's four blocks (see `paper_blocks`), "block3" for one on
        block 3 alone, counted from 0, "blocks" for one on every block alone.
      depth: Number of blocks of the encoder.

    Raises:
      JaxpartError: A name is unknown or the encoder has no such block.
    """
    chosen: dict[str, tuple[int, ...]] = {}
    for name in names:
        block = _BLOCK.fullmatch(name)
        if name == "paper":
            chosen[name] = paper_blocks(depth)
        elif name == "blocks":
            chosen |= {f"block{index}": (index,) for index in range(depth)}
        elif block and int(block.group(1)) < depth:
            chosen[name] = (int(block.group(1)),)
        else:
            raise JaxpartError(
                f"there is no readout {name!r}; choose among paper, blocks, block0 … block{depth - 1}"
            )
    return chosen


def feature_maps(
    encoder: Encoder,
    images: UInt8[Array, "batch height width 3"],
    sizes: Int32[Array, "batch 2"],
    blocks: Iterable[int],
) -> dict[int, FeatureMap]:
    """Patch tokens of some blocks as maps, by block; no gradient flows into them.

    Args:
      encoder: The frozen encoder; its positions come to the images' grid as `for_segmentation` says.
      images: Pixels of 0 to 255.
      sizes: (height, width) that the picture fills of each image; the rest is padding.
      blocks: Indices of the blocks.
    """
    height, width = images.shape[1:3]
    pixels = jnp.where(inside(sizes, (height, width)), encoder.normalize(images), 0)
    outputs = for_segmentation(encoder)(pixels, blocks=True)["blocks"]
    grid = encoder.config.grid_of(height, width)
    return {index: jax.lax.stop_gradient(patch_map(outputs[index], grid)) for index in blocks}


def training_program(
    encoder: Encoder, heads: PixelHeads, transform: optax.GradientTransformation
) -> tuple[PixelState, Callable[[PixelState, dict[str, Array]], tuple[PixelState, dict]]]:
    """The state before the first step, on all devices, and the step, as `jaxpart.training.fit` takes it.

    Args:
      encoder: The frozen encoder, on all devices.
      heads: Fresh heads.
      transform: Their optimiser.

    Returns:
      The state, and a step that takes over its buffers and expects batches of `SegmentationTrain`.
    """
    state, update = training(heads, transform)

    @functools.partial(jax.jit, donate_argnums=1)
    def step(encoder, state, batch):
        maps = feature_maps(encoder, batch["image"], batch["size"], heads.blocks)
        state, losses = update(state, maps, batch["label"])
        return state, {"loss": losses}

    return devices.replicate(state), functools.partial(step, encoder)


class Readers(NamedTuple):
    """What reads the frozen features of a window; each gives one map of logits per head.

    Attributes:
      heads: Trained heads; their states are on all devices.
      memory: Labelled patches of the last block, for segmentation without training, or None.
    """

    heads: Sequence[PixelHeads]
    memory: Memory | None = None


def window_logits(
    encoder: Encoder, readers: Readers, *, neighbours: int = 30, temperature: float = 0.02
) -> WindowLogits:
    """The function that the sliding-window test calls: one pass of the encoder for all readers.

    Args:
      encoder: The frozen encoder.
      readers: The heads in the order of the result; the memory, if there is one, comes last.
      neighbours: See `nearest_labels`.
      temperature: See `nearest_labels`.
    """
    last = encoder.config.depth - 1
    graphs, states = zip(*(nnx.split(heads) for heads in readers.heads), strict=True)
    needed = {index for heads in readers.heads for index in heads.blocks}
    needed |= {last} if readers.memory is not None else set()

    @jax.jit
    def logits(encoder, states, memory, images, sizes):
        maps = feature_maps(encoder, images, sizes, sorted(needed))
        found = [nnx.merge(graph, state)(maps) for graph, state in zip(graphs, states, strict=True)]
        if memory is not None:
            shares = nearest_labels(
                memory, maps[last], neighbours=neighbours, temperature=temperature
            )
            found.append(shares[None])
        return jnp.concatenate(found)

    frozen = devices.replicate((encoder, states, readers.memory), local=True)
    return functools.partial(logits, *frozen)


def labelled_patches(
    encoder: Encoder, batches: Iterable[Mapping[str, Any]], classes: int
) -> Memory:
    """The last block's features of training crops with what their pixels show.

    Args:
      encoder: The frozen encoder, on all devices.
      batches: Of `SegmentationTrain`, on all devices.
      classes: How many classes there are.

    Raises:
      JaxpartError: No pixel is labelled.
    """
    last = encoder.config.depth - 1

    @jax.jit
    def patches(encoder, batch) -> tuple[FeatureMap, Float32[Array, "batch height width classes"]]:
        maps = feature_maps(encoder, batch["image"], batch["size"], [last])[last]
        return maps, patch_shares(batch["label"], maps.shape[1:3], classes)

    found = [devices.fetch(patches(encoder, batch)) for batch in batches]
    features, shares = (jnp.concatenate(part) for part in zip(*found, strict=True))
    return make_memory(features, shares)


def crop_size(encoder: Encoder, crop: int, name: str) -> tuple[int, int]:
    """The crop as (height, width), checked against the encoder's patches.

    Raises:
      JaxpartError: It is no multiple of the patch size.
    """
    patch = encoder.config.patch_size
    if crop < patch or crop % patch:
        raise JaxpartError(
            f"{name}: crops of {crop} pixels cannot be cut into patches of {patch}; set "
            f"config.segmentation.settings.{name}.crop to a multiple, as "
            f"{max(math.floor(crop / patch), 1) * patch}"
        )
    return crop, crop
