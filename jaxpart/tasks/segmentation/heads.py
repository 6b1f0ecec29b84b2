"""Pixel heads on a frozen encoder: trained in one compiled program with it, and applied to windows.

In the program, uint8 pixels are normalised and padding is then set to 0, the encoder runs at the size of
the crop, and heads read the patch tokens of blocks before the final norm.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float32, Int32, UInt8

from jaxpart import devices
from jaxpart.data.segmentation_transforms import inside
from jaxpart.encoders.families import IMAGENET_MEAN
from jaxpart.encoders.frozen import FrozenEncoder
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
_MEAN_COLOUR = tuple(round(255 * value) for value in IMAGENET_MEAN)
"""Colour of padding for encoders with uint8 input."""


def readouts(names: Sequence[str], depth: int) -> dict[str, tuple[int, ...]]:
    """The blocks that each head reads, by the head's name.

    Args:
      names: "paper" for one head on the paper's four blocks (see `paper_blocks`), "block3" for one on
        block 3, counted from 0, "blocks" for one on each block.
      depth: Number of the encoder's blocks; 0: it returns only the tokens of its last layer, and there is
        one head, "tokens".

    Raises:
      JaxpartError: A name is unknown or the encoder lacks the block.
    """
    if not depth:
        return {"tokens": (0,)}
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
                f"there is no readout {name!r}; choose from paper, blocks, block0 … block{depth - 1}"
            )
    return chosen


def feature_maps(
    encoder: FrozenEncoder,
    images: UInt8[Array, "batch height width 3"],
    sizes: Int32[Array, "batch 2"],
    blocks: Iterable[int],
) -> dict[int, FeatureMap]:
    """Patch tokens of some blocks as maps, by block, without gradients.

    Positions are resized by `for_segmentation`; `sizes` are (height, width) of each image without
    padding. Block 0 is the last layer of an encoder that returns no blocks.
    """
    height, width = images.shape[1:3]
    pixels = encoder.normalize(images)
    padding = 0 if pixels.dtype == jnp.float32 else np.array(_MEAN_COLOUR, np.uint8)
    pixels = jnp.where(inside(sizes, (height, width)), pixels, padding)
    out = for_segmentation(encoder)(pixels, blocks=encoder.depth > 0)
    layers = out["blocks"] if encoder.depth else (out["tokens"],)
    return {
        index: jax.lax.stop_gradient(
            patch_map(
                layers[index], encoder.grid_of(height, width, index if encoder.depth else None)
            )
        )
        for index in blocks
    }


def training_program(
    encoder: FrozenEncoder, heads: PixelHeads, transform: optax.GradientTransformation
) -> tuple[PixelState, Callable[[PixelState, dict[str, Array]], tuple[PixelState, dict]]]:
    """The initial state, on all devices, and the training step for `jaxpart.training.fit`."""
    state, update = training(heads, transform)

    def step(encoder, state, batch):
        maps = feature_maps(encoder, batch["image"], batch["size"], heads.blocks)
        state, losses = update(state, maps, batch["label"])
        return state, {"loss": losses}

    if encoder.jittable:
        step = jax.jit(step, donate_argnums=1, compiler_options=devices.step_options())
    else:
        update = jax.jit(update, donate_argnums=0, compiler_options=devices.step_options())
    return devices.replicate(state), functools.partial(step, encoder)


class Readers(NamedTuple):
    """Heads that predict logits from the frozen features of a window.

    Attributes:
      heads: Trained heads, on all devices.
      memory: Labelled patches of the last block for in-context segmentation, or None.
    """

    heads: Sequence[PixelHeads]
    memory: Memory | None = None


def window_logits(
    encoder: FrozenEncoder, readers: Readers, *, neighbours: int = 30, temperature: float = 0.02
) -> WindowLogits:
    """The function that the sliding-window test calls: one forward pass of the encoder for all readers.

    The results are in the order of the heads; that of the memory comes last.
    """
    last = last_block(encoder)
    graphs, states = zip(*(nnx.split(heads) for heads in readers.heads), strict=True)
    needed = {index for heads in readers.heads for index in heads.blocks}
    needed |= {last} if readers.memory is not None else set()

    def logits(encoder, states, memory, images, sizes):
        return read(states, memory, feature_maps(encoder, images, sizes, sorted(needed)))

    def read(states, memory, maps):
        outputs = [
            nnx.merge(graph, state)(maps) for graph, state in zip(graphs, states, strict=True)
        ]
        if memory is not None:
            shares = nearest_labels(
                memory, maps[last], neighbours=neighbours, temperature=temperature
            )
            outputs.append(shares[None])
        return jnp.concatenate(outputs)

    if encoder.jittable:
        logits = jax.jit(logits)
    else:
        read = jax.jit(read)
    frozen = devices.replicate((encoder, states, readers.memory), local=True)
    return functools.partial(logits, *frozen)


def labelled_patches(
    encoder: FrozenEncoder, batches: Iterable[Mapping[str, Any]], classes: int, crops: int
) -> Memory:
    """The last block's patch features of training crops, with the share of each class in each patch.

    The first `crops` crops of the batches (of `SegmentationTrain`, on all devices) are kept.

    Raises:
      JaxpartError: No pixel is labelled.
    """
    last = last_block(encoder)

    def patches(encoder, batch) -> tuple[FeatureMap, Float32[Array, "batch height width classes"]]:
        maps = feature_maps(encoder, batch["image"], batch["size"], [last])[last]
        return maps, patch_shares(batch["label"], maps.shape[1:3], classes)

    if encoder.jittable:
        patches = jax.jit(patches)
    results = [devices.fetch(patches(encoder, batch)) for batch in batches]
    features, shares = (np.concatenate(arrays) for arrays in zip(*results, strict=True))
    return make_memory(features[:crops], shares[:crops])


def widths(encoder: FrozenEncoder, crop: int) -> list[int]:
    """Number of channels of each block."""
    out = encoder.shapes(crop, crop)
    return [layer.shape[-1] for layer in (out["blocks"] or (out["tokens"],))]


def check_grids(
    encoder: FrozenEncoder,
    chosen: Mapping[str, Sequence[int]],
    crop: int,
    *,
    incontext: bool,
) -> None:
    """Checks that all heads read blocks of one grid, since one program combines their maps.

    Raises:
      JaxpartError: The grids differ, the encoder returns no tokens, or in-context segmentation cannot
        divide a crop into patches.
    """
    used = {block for blocks in chosen.values() for block in blocks}
    used |= {last_block(encoder)} if incontext else set()
    grids = {
        block: encoder.grid_of(crop, crop, block if encoder.depth else None)
        for block in sorted(used)
    }
    if len(set(grids.values())) > 1:
        details = ", ".join(f"block{b} {rows} × {columns}" for b, (rows, columns) in grids.items())
        raise JaxpartError(
            f"heads would read blocks of different grids of the {encoder.name} encoder ({details}); "
            f"name those of one grid in config.segmentation.readouts, and set "
            f"config.segmentation.incontext.images to 0 if the last block is of another"
        )
    if incontext and any(crop % side for side in grids[last_block(encoder)]):
        rows, columns = grids[last_block(encoder)]
        raise JaxpartError(
            f"in-context segmentation cannot divide crops of {crop} pixels into the {rows} × {columns} "
            f"patches of {encoder.name}; set config.segmentation.incontext.images to 0"
        )


def last_block(encoder: FrozenEncoder) -> int:
    """The block for in-context segmentation; 0 if the encoder returns no blocks."""
    return max(encoder.depth - 1, 0)
