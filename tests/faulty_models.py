"""References with one of the known mistakes each, for `module:faulty_models:NAME`.

A small MoCo v3 (its projector has BatchNorms) with timm's ViT.
"""

import functools

import timm
import torch
from torch import nn

SIZE, PATCH, WIDTH, DEPTH, HEADS, OUT = 32, 8, 48, 2, 3, 10


def model(**changes):
    """The ViT with MoCo v3's projector as its head."""
    settings = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH}
    settings |= {"num_heads": HEADS, "num_classes": 0, "dynamic_img_size": True} | changes
    made = timm.create_model("vit_base_patch16_224", **settings)
    made.head = nn.Sequential(
        *(nn.Linear(WIDTH, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU()),
        *(nn.Linear(32, OUT, bias=False), nn.BatchNorm1d(OUT, affine=False)),
    )
    return made


def load(path, made):
    """A model with the checkpoint's weights."""
    prefix = "module.base_encoder."
    values = torch.load(path, weights_only=True)["state_dict"]
    made.load_state_dict(
        {key.removeprefix(prefix): v for key, v in values.items() if key.startswith(prefix)},
        strict=False,
    )
    return made


def faithful(path):
    return load(path, model())


def tanh_gelu(path):
    return load(path, model(act_layer=functools.partial(nn.GELU, approximate="tanh")))


def epsilon(path, value):
    return load(path, model(norm_layer=functools.partial(nn.LayerNorm, eps=value)))


def epsilon_5(path):
    return epsilon(path, 1e-5)


def epsilon_12(path):
    return epsilon(path, 1e-12)


def epsilon_5_and_tanh_gelu(path):
    gelu = functools.partial(nn.GELU, approximate="tanh")
    norm = functools.partial(nn.LayerNorm, eps=1e-5)
    return load(path, model(act_layer=gelu, norm_layer=norm))


class Reordered(nn.Module):
    """A qkv projection whose thirds come out as k, q, v."""

    def __init__(self, qkv):
        super().__init__()
        self.qkv = qkv

    def forward(self, tokens):
        q, k, v = self.qkv(tokens).chunk(3, dim=-1)
        return torch.cat([k, q, v], dim=-1)


class PerHead(Reordered):
    """A qkv projection read as q, k, v of the first head, then of the second …"""

    def forward(self, tokens):
        *shape, width = tokens.shape
        return self.qkv(tokens).view(*shape, HEADS, 3, width // HEADS).transpose(-2, -3).flatten(-3)


def qkv(path, kind):
    made = load(path, model())
    for block in made.blocks:
        block.attn.qkv = kind(block.attn.qkv)
    return made


def qkv_order(path):
    return qkv(path, Reordered)


def qkv_of_each_head(path):
    return qkv(path, PerHead)


def head_count(path):
    return load(path, model(num_heads=2))


def no_final_norm(path):
    made = load(path, model())
    made.norm = nn.Identity()
    return made


def two_final_norms(path):
    made = load(path, model())
    made.norm = nn.Sequential(made.norm, made.norm)
    return made


def no_second_norm(path):
    made = load(path, model())
    for block in made.blocks:
        block.norm2 = nn.Identity()
    return made


def batch_statistics(path):
    made = load(path, model())
    for layer in made.head:
        if isinstance(layer, nn.BatchNorm1d):
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
    return made


def unknown(path):
    made = load(path, model())
    made.blocks[1].mlp.fc1.weight.data[3] *= -1
    return made


class Appended(nn.Module):
    """One token more."""

    def forward(self, tokens):
        return torch.cat([tokens, tokens[:, :1]], dim=1)


def another_token(path):
    made = load(path, model())
    made.norm_pre = Appended()
    return made


def misfit(path):
    return load(path, model(embed_dim=24))


class Renamed(nn.Module):
    """Somebody's own ViT, whose parts have names of their own."""

    def __init__(self, vit):
        super().__init__()
        self.stack, self.other = vit.blocks, nn.ModuleList(nn.Identity() for _ in vit.blocks)
        self.vit, self.last = [vit], vit.norm

    def forward(self, images):
        (vit,) = self.vit
        tokens = self.last(self.stack[1](self.stack[0](vit._pos_embed(vit.patch_embed(images)))))
        return {"tokens": tokens, "projection": vit.head(tokens[:, 0])}


def renamed(path):
    vit = load(path, model()).eval()
    return Renamed(vit)


def no_module(path):
    return path
