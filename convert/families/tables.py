"""The rules that the families share: of layers, of blocks and of a whole ViT."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convert.rules import Rule
from jaxpart.encoders.architecture import ViTConfig


def same(array: np.ndarray) -> np.ndarray:
    """The array as it is."""
    return array


def linear(weight: np.ndarray) -> np.ndarray:
    """PyTorch's [out, in] as Flax's [in, out]."""
    return weight.T


def convolution(weight: np.ndarray) -> np.ndarray:
    """PyTorch's [out, in, height, width] as Flax's [height, width, in, out]."""
    return weight.transpose(2, 3, 1, 0)


def patch_projection(weight: np.ndarray) -> np.ndarray:
    """A patch embedding [out, 3, side, side], or already [out, side · side · 3], as a linear map."""
    if weight.ndim == 2:
        return weight.T
    return convolution(weight).reshape(-1, weight.shape[0])


def weight_norm(g: np.ndarray, v: np.ndarray) -> np.ndarray:
    """g · v / ‖v‖ over each output row, as Flax's [in, out]."""
    v = v.astype(np.float64)
    return (g * v / np.linalg.norm(v, axis=1, keepdims=True)).T


def tokens(*arrays: np.ndarray) -> np.ndarray:
    """[1, n, width], [n, width] and [width] arrays as one [tokens, width]."""
    return np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])


def stacked_linear(*weights: np.ndarray) -> np.ndarray:
    """Several [out, in] as one [in, outs]."""
    return np.concatenate(weights).T


def stacked(*biases: np.ndarray) -> np.ndarray:
    """Several [out] as one [outs]."""
    return np.concatenate(biases)


def without_registers(registers: int) -> Callable[[np.ndarray], np.ndarray]:
    """Positions of cls and patches as those of cls, registers (zero: they have none) and patches."""
    return lambda positions: np.insert(tokens(positions), [1] * registers, 0, axis=0)


def layer(source: str, target: str, *, bias: bool = True) -> list[Rule]:
    """Rules of a linear layer."""
    rules = [Rule((f"{source}.weight",), f"{target}.kernel", linear)]
    return rules + [Rule((f"{source}.bias",), f"{target}.bias", same)] * bias


def norm(source: str, target: str, *, bias: bool = True) -> list[Rule]:
    """Rules of a LayerNorm, or of an RMSNorm, which has no bias."""
    rules = [Rule((f"{source}.weight",), f"{target}.scale", same)]
    return rules + [Rule((f"{source}.bias",), f"{target}.bias", same)] * bias


def batch_norm(source: str, target: str, *, affine: bool = True) -> list[Rule]:
    """Rules of a BatchNorm with its running statistics."""
    return norm(source, target) * affine + [
        Rule((f"{source}.running_mean",), f"{target}.mean", same),
        Rule((f"{source}.running_var",), f"{target}.var", same),
    ]


def qkv_rules(source: str, target: str, bias: str) -> list[Rule]:
    """Rules of the query, key and value projection: one matrix, or three that become one."""
    split = [f"{source}.{name}_proj" for name in "qkv"]
    rules = layer(f"{source}.qkv", f"{target}.qkv", bias=bias == "qkv")
    rules.append(Rule(tuple(f"{k}.weight" for k in split), f"{target}.qkv.kernel", stacked_linear))
    if bias == "qkv":
        rules.append(Rule(tuple(f"{k}.bias" for k in split), f"{target}.qkv.bias", stacked))
    if bias == "qv":
        for name in "qv":
            for key in (f"{source}.{name}_bias", f"{source}.{name}_proj.bias"):
                rules.append(Rule((key,), f"{target}.{name}_bias", same))
    return rules


def mlp_rules(source: str, target: str, config: ViTConfig) -> list[Rule]:
    """Rules of an MLP; the two halves of a gated one lie in one matrix or in two."""
    rules = layer(f"{source}.fc1", f"{target}.fc1", bias=config.biases)
    if config.gated_mlp:
        halves = f"{source}.fc1_g", f"{source}.fc1_x"
        for kind, transform in (("weight", stacked_linear), ("bias", stacked)):
            path = f"{target}.fc1.{'kernel' if kind == 'weight' else 'bias'}"
            rules.append(Rule(tuple(f"{half}.{kind}" for half in halves), path, transform))
    if config.mlp_norm:
        rules += norm(f"{source}.norm", f"{target}.norm")
    return rules + layer(f"{source}.fc2", f"{target}.fc2", bias=config.biases)


def embedding_rules(config: ViTConfig) -> list[Rule]:
    """Rules of everything before the first block."""
    registers = sum(name.startswith("register") for name in config.prefix)
    prefix = [f"{name}_token" for name in config.prefix if not name.startswith("register")]
    rules = []
    if prefix:
        prefix += ["register_tokens"] * bool(registers)
        rules.append(Rule(tuple(prefix), "prefix_tokens", tokens))
    if config.positions != "none":
        spared = registers and config.prefix_positions
        transform = without_registers(registers) if spared else tokens
        rules.append(Rule(("pos_embed",), "positions", transform))
    if config.stem == "patch":
        kernel = "stem.projection.kernel"
        rules.append(Rule(("patch_embed.proj.weight",), kernel, patch_projection))
        if config.stem_bias:
            rules.append(Rule(("patch_embed.proj.bias",), "stem.projection.bias", same))
    if config.stem_norm:
        rules += norm("patch_embed.norm", "stem_norm", bias=config.norm == "layer")
    if config.pre_norm:
        rules += norm("norm_pre", "pre_norm", bias=config.norm == "layer")
    return rules


def vit_rules(config: ViTConfig) -> list[Rule]:
    """Rules of the encoder itself, in the names that all families took over from timm."""
    source, target = "blocks.{i}", "blocks.{i}"
    biased = config.norm == "layer"
    rules = embedding_rules(config)
    rules += norm(f"{source}.norm1", f"{target}.norm1", bias=biased)
    rules += norm(f"{source}.norm2", f"{target}.norm2", bias=biased)
    rules += qkv_rules(f"{source}.attn", f"{target}.attention", config.qkv_bias)
    if config.attention_norm:
        rules += norm(f"{source}.attn.norm", f"{target}.attention.norm", bias=biased)
    rules += layer(f"{source}.attn.proj", f"{target}.attention.out", bias=config.biases)
    rules += mlp_rules(f"{source}.mlp", f"{target}.mlp", config)
    if config.layer_scale:
        rules.append(Rule((f"{source}.gamma_1",), f"{target}.scale1", same))
        rules.append(Rule((f"{source}.gamma_2",), f"{target}.scale2", same))
    if config.final_norm:
        rules += norm("norm", "norm", bias=biased)
    if config.pooled_norm:
        rules += norm("fc_norm", "pooled_norm", bias=biased)
    return rules


def plain_rules(config: ViTConfig) -> tuple[list[Rule], list[Rule]]:
    """Rules of an encoder with at most a linear classifier behind it."""
    return vit_rules(config) + classifier_rules(config), []


def classifier_rules(config: ViTConfig) -> list[Rule]:
    """Rules of a linear classifier of the cls or pooled token, if there is one."""
    if config.projector is None:
        return []
    return layer("head", "projector.heads.0", bias=config.projector.bias)
