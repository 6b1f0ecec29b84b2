"""The modules behind an encoder in pretraining, stored beside it: MAE's decoder, CAE's regressor and
decoder, BEiT's token classifier, iBOT's mask token.

In an encoder's folder it is a second set of arrays, `decoder`, described by "decoder" in
`encoder.json`; loading the encoder alone never reads it.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pathlib
import types
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from jaxpart.encoders.architecture import MAX_DEPTH, ViTConfig
from jaxpart.encoders.loading import describe, digest_of
from jaxpart.encoders.positions import Grid
from jaxpart.encoders.precision import REFERENCE, set_precision
from jaxpart.encoders.weights import matrix_shapes, with_arrays
from jaxpart.errors import JaxpartError, first_line
from jaxpart.io import checkpoints
from jaxpart.io.files import path_of
from jaxpart.io.text import typed_value

KINDS = ("ibot", "mae", "beit", "cae")
_ARRAYS = "decoder"


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Architecture of a decoder.

    Attributes:
      kind: The method, one of `KINDS`.
      grid: Patches along (height, width) that its positions belong to.
      out: Channels predicted per patch: pixel values (MAE) or tokens (BEiT, CAE); 0 for none (iBOT).
      width: Channels of its tokens; the encoder's except in MAE.
      num_heads: Attention heads of its blocks.
      mlp_width: Hidden channels of its blocks' MLPs.
      depth: Blocks that predict (MAE, CAE).
      regressor_depth: Blocks with cross attention that regress representations (CAE).
      regressor_mlp_width: Hidden channels of their MLPs.
      alignment: Whether the encoder of CAE's targets is stored too; otherwise the encoder makes them.
      codebook: Pixel values per entry of the k-means tokenizer stored with it (BEiT, CAE); 0 for
        none, as in the released checkpoints.
    """

    kind: str
    grid: Grid
    out: int
    width: int
    num_heads: int = 0
    mlp_width: int = 0
    depth: int = 0
    regressor_depth: int = 0
    regressor_mlp_width: int = 0
    alignment: bool = False
    codebook: int = 0


class Codebook(nnx.Variable):
    """Entries of the tokenizer: neither trained nor averaged."""


def blocks_config(encoder: ViTConfig, decoder: DecoderConfig, mlp_width: int) -> ViTConfig:
    """The decoder's blocks: biases and layer scale as in the encoder, no relative positions."""
    return dataclasses.replace(
        encoder,
        width=decoder.width,
        num_heads=decoder.num_heads,
        mlp_width=mlp_width,
        relative_bias="none",
        projector=None,
    )


def make_decoder(encoder: ViTConfig, decoder: DecoderConfig, *, rngs: nnx.Rngs) -> nnx.Module:
    """A decoder with random weights, for an encoder of the given architecture."""
    module = importlib.import_module(f"jaxpart.pretraining.{decoder.kind}")
    return module.Decoder(encoder, decoder, rngs=rngs)


def abstract_decoder(encoder: ViTConfig, decoder: DecoderConfig) -> nnx.Module:
    """A decoder of shapes and dtypes only."""
    return nnx.eval_shape(lambda: make_decoder(encoder, decoder, rngs=nnx.Rngs(0)))


@functools.cache
def decoder_shapes(encoder: ViTConfig, decoder: DecoderConfig) -> Mapping[str, tuple[int, ...]]:
    """Shape on disk of every array of a decoder, by dotted path."""
    return types.MappingProxyType(matrix_shapes(abstract_decoder(encoder, decoder)))


def write_decoder(
    folder: pathlib.Path, config: DecoderConfig, arrays: Mapping[str, ArrayLike]
) -> dict[str, Any]:
    """Writes a decoder's arrays into an encoder's folder; returns its entry for `encoder.json`."""
    checkpoints.save_arrays(folder / _ARRAYS, arrays)
    return {"decoder": dataclasses.asdict(config) | {"digest": digest_of(arrays)}}


def load_decoder(folder: str | pathlib.Path) -> nnx.Module:
    """Loads the decoder stored beside an encoder.

    Returns:
      `jaxpart.pretraining.mae.Decoder`, or that of cae, beit or ibot, set to the reference precision.

    Raises:
      JaxpartError: There is none, or it is damaged.
    """
    folder = path_of(folder)
    document, encoder = describe(folder)
    if "decoder" not in document:
        raise JaxpartError(
            f"{folder} holds no decoder; convert the checkpoint again with --with-decoder"
        )
    try:
        fields = dict(document["decoder"])
        digest = fields.pop("digest")
        config = typed_value(DecoderConfig, fields, "decoder")
        if config.kind not in KINDS or max(config.depth, config.regressor_depth) > MAX_DEPTH:
            raise ValueError(f"{config.kind} of {config.depth} + {config.regressor_depth} blocks")
        shapes = decoder_shapes(encoder, config)
    except Exception as error:  # sizes that no arrays can have raise many types
        raise JaxpartError(
            f"the decoder in {folder / 'encoder.json'} is damaged ({first_line(error)}); convert again"
        ) from error
    arrays = checkpoints.load_arrays(folder / _ARRAYS, shapes)
    if digest_of(arrays) != digest:
        raise JaxpartError(
            f"the decoder of {folder} was modified after it was written; convert again"
        )
    abstract = abstract_decoder(encoder, config)
    decoder = with_arrays(abstract, arrays, lambda _, array: jnp.asarray(array))
    set_precision(decoder, REFERENCE)
    return decoder
