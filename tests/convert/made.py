"""Checkpoints of tiny ViTs as dictionaries of arrays, without PyTorch."""

import numpy as np

WIDTH, DEPTH, PATCH = 12, 2, 4


def plain_vit(patches=4, *, depth=DEPTH, registers=0, slots=None, seed=0):
    """The state dict of a plain ViT under timm's names; three heads fit its width."""
    rng = np.random.default_rng(seed)

    def array(*shape):
        return rng.normal(size=shape).astype(np.float32)

    slots = 1 if slots is None else slots
    state = {"cls_token": array(1, 1, WIDTH), "pos_embed": array(1, slots + patches, WIDTH)}
    if registers:
        state["reg_token"] = array(1, registers, WIDTH)
    linear = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
    linear |= {"mlp.fc1": (2 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 2 * WIDTH)}
    shapes = {"patch_embed.proj": (WIDTH, 3, PATCH, PATCH), "norm": (WIDTH,)}
    for i in range(depth):
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in linear.items()}
        shapes |= {f"blocks.{i}.norm{n}": (WIDTH,) for n in (1, 2)}
    for name, shape in shapes.items():
        state |= {f"{name}.weight": array(*shape), f"{name}.bias": array(shape[0])}
    return state


def under(prefix, state):
    """The same below a prefix."""
    return {prefix + key: value for key, value in state.items()}
