"""Rules of what stands behind the encoder in pretraining checkpoints: `--with-decoder`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from convert.families.base import Arrays, Options, shape
from convert.families.tables import layer, norm, same, tokens, vit_rules
from convert.rules import Rule
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.errors import JaxpartError
from jaxpart.pretraining.cae import alignment_config
from jaxpart.pretraining.decoders import DecoderConfig

TARGET = "decoder."
"""Prefix of a decoder's paths among those of the encoder."""

_MAE_HEADS = {512: 16}
"""Attention heads of the released decoders by their width."""


@dataclasses.dataclass(frozen=True)
class DecoderFamily:
    """What a family's pretraining checkpoints hold beside the encoder.

    Attributes:
      sign: A key without which there is no decoder, relative to `Root.path`.
      architecture: (arrays below `Root.path`, encoder, options) → the decoder's configuration.
      rules: (encoder, decoder) → rules, keys relative to `Root.path`, targets to the decoder.
      patterns: What the encoder's table ignores, and these rules do not.
    """

    sign: str
    architecture: Callable[[Arrays, ViTConfig, Options], DecoderConfig]
    rules: Callable[[ViTConfig, DecoderConfig], list[Rule]]
    patterns: tuple[str, ...]


def decoder_of(name: str, arrays: Arrays) -> DecoderFamily:
    """The rules of a family's decoder.

    Raises:
      JaxpartError: The family has none, or the checkpoint holds none.
    """
    if name not in DECODERS:
        raise JaxpartError(
            f"{name} has no decoder, {', '.join(DECODERS)} have; convert without --with-decoder"
        )
    if DECODERS[name].sign not in arrays:
        raise JaxpartError(
            f"it holds no decoder ({DECODERS[name].sign} is missing); convert without --with-decoder"
        )
    return DECODERS[name]


def token(array: np.ndarray) -> np.ndarray:
    """A [1, 1, width] token as [width]."""
    return array.reshape(-1)


def _count(arrays: Arrays, prefix: str, key: str) -> int:
    return sum(k.startswith(prefix) and k.endswith(f".{key}") for k in arrays)


def _blocks(source: str, target: str, encoder: ViTConfig) -> list[Rule]:
    """Rules of transformer blocks: those of the encoder's, in other places."""
    inside = [rule for rule in vit_rules(encoder) if rule.target.startswith("blocks.")]
    return [
        dataclasses.replace(
            rule,
            source=tuple(key.replace("blocks.", f"{source}.", 1) for key in rule.source),
            target=rule.target.replace("blocks.", f"{target}.", 1),
        )
        for rule in inside
    ]


def _mae(arrays: Arrays, encoder: ViTConfig, options: Options) -> DecoderConfig:
    width = shape(arrays, "decoder_embed.weight")[0]
    head_width = encoder.width // encoder.num_heads
    num_heads = options.decoder_num_heads or _MAE_HEADS.get(width) or width / head_width
    if num_heads != int(num_heads) or width % int(num_heads):
        raise JaxpartError(
            f"a decoder of width {width} is not split into heads as the encoder is; pass "
            f"--decoder-num-heads"
        )
    return DecoderConfig(
        "mae",
        encoder.grid,
        out=shape(arrays, "decoder_pred.weight")[0],
        width=width,
        num_heads=int(num_heads),
        mlp_width=shape(arrays, "decoder_blocks.0.mlp.fc1.weight")[0],
        depth=_count(arrays, "decoder_blocks.", "norm1.weight"),
    )


def _mae_rules(encoder: ViTConfig, decoder: DecoderConfig) -> list[Rule]:
    return [
        Rule(("mask_token",), "mask_token", token),
        Rule(("decoder_pos_embed",), "positions", tokens),
        *layer("decoder_embed", "embed"),
        *_blocks("decoder_blocks", "blocks", encoder),
        *norm("decoder_norm", "norm"),
        *layer("decoder_pred", "head"),
    ]


def _beit(arrays: Arrays, encoder: ViTConfig, options: Options) -> DecoderConfig:
    out, width = shape(arrays, "lm_head.weight")
    return DecoderConfig("beit", encoder.grid, out=out, width=width)


def _beit_rules(encoder: ViTConfig, decoder: DecoderConfig) -> list[Rule]:
    return [Rule(("mask_token",), "mask_token", token), *layer("lm_head", "head")]


def _cae(arrays: Arrays, encoder: ViTConfig, options: Options) -> DecoderConfig:
    out, width = shape(arrays, "decoder.head.weight")
    regressor = "regresser.regressor_blocks."
    depth = _count(arrays, "decoder.decoder_blocks.", "norm1.weight")
    mlp_width = encoder.mlp_width
    if depth:
        mlp_width = shape(arrays, "decoder.decoder_blocks.0.mlp.fc1.weight")[0]
    return DecoderConfig(
        "cae",
        encoder.grid,
        out=out,
        width=width,
        num_heads=encoder.num_heads,
        mlp_width=mlp_width,
        depth=depth,
        regressor_depth=_count(arrays, regressor, "norm1_q.weight"),
        regressor_mlp_width=shape(arrays, f"{regressor}0.mlp_cross.fc1.weight")[0],
        alignment="alignment_encoder.cls_token" in arrays,
    )


def _cae_rules(encoder: ViTConfig, decoder: DecoderConfig) -> list[Rule]:
    source, target = "regresser.regressor_blocks.{i}", "regressor.{i}"
    crossing, attention = f"{source}.cross_attn", f"{target}.attention"
    table = [
        Rule(("mask_token",), "mask_token", token),
        Rule(("rd_pos_embed",), "positions", tokens),
        *norm(f"{source}.norm1_q", f"{target}.norm_q"),
        *norm(f"{source}.norm1_k", f"{target}.norm_k"),
        *norm(f"{source}.norm1_v", f"{target}.norm_v"),
        *norm(f"{source}.norm2_cross", f"{target}.norm2"),
        *(r for n in "qkv" for r in layer(f"{crossing}.{n}", f"{attention}.{n}", bias=False)),
        *(Rule((f"{crossing}.{n}_bias",), f"{attention}.{n}_bias", same) for n in "qv"),
        *layer(f"{crossing}.proj", f"{attention}.out"),
        *layer(f"{source}.mlp_cross.fc1", f"{target}.mlp.fc1"),
        *layer(f"{source}.mlp_cross.fc2", f"{target}.mlp.fc2"),
        Rule((f"{source}.gamma_1_cross",), f"{target}.scale1", same),
        Rule((f"{source}.gamma_2_cross",), f"{target}.scale2", same),
        *norm("regresser.norm", "regressor_norm"),
        *_blocks("decoder.decoder_blocks", "blocks", encoder),
        *norm("decoder.norm", "norm"),
        *layer("decoder.head", "head"),
    ]
    if decoder.alignment:
        for rule in vit_rules(alignment_config(encoder, decoder)):
            source_keys = tuple(f"alignment_encoder.{key}" for key in rule.source)
            table.append(Rule(source_keys, f"alignment.{rule.target}", rule.transform))
    return table


DECODERS = {
    "mae": DecoderFamily("decoder_embed.weight", _mae, _mae_rules, ("mask_token", "decoder_*")),
    "beit": DecoderFamily("lm_head.weight", _beit, _beit_rules, ("mask_token", "lm_head.*")),
    "cae": DecoderFamily(
        "decoder.head.weight",
        _cae,
        _cae_rules,
        ("alignment_encoder.*", "regresser.*", "decoder.*", "mask_token", "rd_pos_embed"),
    ),
}
"""Decoders by family."""
