"""Decoders in pretraining checkpoints: `--with-decoder`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from convert.architecture import count
from convert.family import Arrays, Family, Ignore, shape
from convert.options import Options
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.errors import JaxpartError
from jaxpart.pretraining.decoders import DecoderConfig

TARGET = "decoder."
"""Prefix of a decoder's paths among those of the encoder."""

_MAE_HEADS = {512: 16}
"""Attention heads of the released decoders by their width."""


def _blocks(theirs: str, ours: str) -> str:
    """Name table of a transformer's blocks that are named differently from the encoder's."""
    return f"""
    {theirs}.{{i}}.norm1          {ours}.{{i}}.norm1
    {theirs}.{{i}}.attn.qkv       {ours}.{{i}}.attention.qkv
    {theirs}.{{i}}.attn.q_bias    {ours}.{{i}}.attention.qkv.bias:q
    {theirs}.{{i}}.attn.v_bias    {ours}.{{i}}.attention.qkv.bias:v
    {theirs}.{{i}}.attn.proj      {ours}.{{i}}.attention.out
    {theirs}.{{i}}.gamma_1        {ours}.{{i}}.scale1
    {theirs}.{{i}}.norm2          {ours}.{{i}}.norm2
    {theirs}.{{i}}.mlp.fc1        {ours}.{{i}}.mlp.fc1
    {theirs}.{{i}}.mlp.fc2        {ours}.{{i}}.mlp.fc2
    {theirs}.{{i}}.gamma_2        {ours}.{{i}}.scale2
    """


@dataclasses.dataclass(frozen=True)
class Decoder:
    """The decoder in a family's pretraining checkpoints.

    Attributes:
      names: Lines for the table of the original layout.
      architecture: (arrays by our names, encoder, options) → the decoder's configuration.
      replaces: Patterns that the encoder's layout ignores without `--with-decoder`.
    """

    names: str
    architecture: Callable[[Arrays, ViTConfig, Options], DecoderConfig]
    replaces: tuple[Ignore, ...]


def decoder_of(family: Family, options: Options) -> Any:
    """The decoder of a family. Raises `JaxpartError` if it has none, or none in this layout."""
    if family.decoder is None:
        raise JaxpartError(
            f"{family.name} has no decoder (mae, beit and cae have one); convert without --with-decoder"
        )
    if options.layout != "original":
        raise JaxpartError("decoders can only be converted from the original layout")
    return family.decoder


def _require(arrays: Arrays, name: str, theirs: str) -> None:
    if name not in arrays:
        raise JaxpartError(
            f"it holds no decoder ({theirs} is missing); convert without --with-decoder"
        )


def _mae(arrays: Arrays, encoder: ViTConfig, options: Options) -> DecoderConfig:
    _require(arrays, "decoder.embed.weight", "decoder_embed.weight")
    width = shape(arrays, "decoder.embed.weight", 2)[0]
    head_width = encoder.width // encoder.num_heads
    num_heads = options.decoder_num_heads or _MAE_HEADS.get(width) or width / head_width
    if num_heads != int(num_heads) or width % int(num_heads):
        raise JaxpartError(
            f"a decoder of width {width} does not divide by the encoder's head width; pass "
            "--decoder-num-heads"
        )
    return DecoderConfig(
        "mae",
        encoder.grid,
        out=shape(arrays, "decoder.head.weight", 2)[0],
        width=width,
        num_heads=int(num_heads),
        mlp_width=shape(arrays, "decoder.blocks.0.mlp.fc1.weight", 2)[0],
        depth=count(arrays, r"decoder\.blocks\.(\d+)\.norm1\.weight"),
    )


def _beit(arrays: Arrays, encoder: ViTConfig, options: Options) -> DecoderConfig:
    _require(arrays, "decoder.head.weight", "lm_head.weight")
    out, width = shape(arrays, "decoder.head.weight", 2)
    return DecoderConfig("beit", encoder.grid, out=out, width=width)


def _cae(arrays: Arrays, encoder: ViTConfig, options: Options) -> DecoderConfig:
    _require(arrays, "decoder.head.weight", "decoder.head.weight")
    out, width = shape(arrays, "decoder.head.weight", 2)
    depth = count(arrays, r"decoder\.blocks\.(\d+)\.norm1\.weight")
    mlp_width = encoder.mlp_width
    if depth:
        mlp_width = shape(arrays, "decoder.blocks.0.mlp.fc1.weight", 2)[0]
    return DecoderConfig(
        "cae",
        encoder.grid,
        out=out,
        width=width,
        num_heads=encoder.num_heads,
        mlp_width=mlp_width,
        depth=depth,
        regressor_depth=count(arrays, r"decoder\.regressor\.(\d+)\.norm_q\.weight"),
        regressor_mlp_width=shape(arrays, "decoder.regressor.0.mlp.fc1.weight", 2)[0],
        alignment="decoder.alignment.prefix_tokens:cls" in arrays,
    )


MAE = Decoder(
    """
    mask_token          decoder.mask_token
    decoder_pos_embed   decoder.positions
    decoder_embed       decoder.embed
    decoder_norm        decoder.norm
    decoder_pred        decoder.head
    """
    + _blocks("decoder_blocks", "decoder.blocks"),
    _mae,
    (
        Ignore("mask_token", "decoder: its input for masked patches"),
        Ignore("decoder_*", "decoder"),
    ),
)

BEIT = Decoder(
    """
    mask_token          decoder.mask_token
    lm_head             decoder.head
    """,
    _beit,
    (
        Ignore("mask_token", "pretraining: stands for masked patches"),
        Ignore("lm_head.*", "pretraining: classifier of visual tokens"),
    ),
)

_CROSSING = "../regresser.regressor_blocks.{i}"
CAE = Decoder(
    f"""
    ../mask_token                          decoder.mask_token
    ../rd_pos_embed                        decoder.positions
    {_CROSSING}.norm1_q                 decoder.regressor.{{i}}.norm_q
    {_CROSSING}.norm1_k                 decoder.regressor.{{i}}.norm_k
    {_CROSSING}.norm1_v                 decoder.regressor.{{i}}.norm_v
    {_CROSSING}.cross_attn.q            decoder.regressor.{{i}}.attention.q
    {_CROSSING}.cross_attn.k            decoder.regressor.{{i}}.attention.k
    {_CROSSING}.cross_attn.v            decoder.regressor.{{i}}.attention.v
    {_CROSSING}.cross_attn.q_bias       decoder.regressor.{{i}}.attention.qkv.bias:q
    {_CROSSING}.cross_attn.v_bias       decoder.regressor.{{i}}.attention.qkv.bias:v
    {_CROSSING}.cross_attn.proj         decoder.regressor.{{i}}.attention.out
    {_CROSSING}.gamma_1_cross           decoder.regressor.{{i}}.scale1
    {_CROSSING}.norm2_cross             decoder.regressor.{{i}}.norm2
    {_CROSSING}.mlp_cross.fc1           decoder.regressor.{{i}}.mlp.fc1
    {_CROSSING}.mlp_cross.fc2           decoder.regressor.{{i}}.mlp.fc2
    {_CROSSING}.gamma_2_cross           decoder.regressor.{{i}}.scale2
    ../regresser.norm                      decoder.regressor_norm
    ../decoder.norm                        decoder.norm
    ../decoder.head                        decoder.head
    ../alignment_encoder.cls_token         decoder.alignment.prefix_tokens:cls
    ../alignment_encoder.pos_embed         decoder.alignment.positions
    ../alignment_encoder.patch_embed.proj  decoder.alignment.stem.projection
    ../alignment_encoder.norm              decoder.alignment.norm
    """
    + _blocks("../decoder.decoder_blocks", "decoder.blocks")
    + _blocks("../alignment_encoder.blocks", "decoder.alignment.blocks"),
    _cae,
    (
        Ignore("../alignment_encoder.*", "copy of the encoder, for training"),
        Ignore("../regresser.*", "latent regressor"),
        Ignore("../decoder.*", "decoder"),
        Ignore("../mask_token", "regressor: its query for masked patches"),
        Ignore("../rd_pos_embed", "positions of regressor and decoder"),
    ),
)
