"""Segmentation as published, in plain PyTorch, the baseline of `benchmarks.segmentation`.

The encoder copies our weights, so both sides compute the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from jaxpart.encoders.encoder import Encoder
from jaxpart.labels import IGNORE
from jaxpart.tasks.segmentation.windows import windows


def tensor(array) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


class Backbone:
    """A frozen ViT at the grid of its stored positions."""

    def __init__(self, encoder: Encoder, blocks: Sequence[int]):
        model, self.config, self.blocks = encoder.model, encoder.config, blocks
        side = self.config.patch_size
        kernel = tensor(model.stem.projection.kernel[...]).reshape(side, side, 3, -1)
        self.patch = (
            kernel.permute(3, 2, 0, 1).contiguous(),
            tensor(model.stem.projection.bias[...]),
        )
        positions = tensor(model.positions[...])
        self.cls = tensor(model.prefix_tokens[...]) + positions[:1]
        self.positions = positions[1:]
        self.layers = [self.layer(block) for block in model.blocks]

    @staticmethod
    def layer(block) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        norms = {name: getattr(block, name) for name in ("norm1", "norm2")}
        linears = {
            "qkv": block.attention.qkv,
            "out": block.attention.out,
            "fc1": block.mlp.fc1,
            "fc2": block.mlp.fc2,
        }
        return {
            name: (tensor(norm.scale[...]), tensor(norm.bias[...])) for name, norm in norms.items()
        } | {
            name: (
                tensor(linear.kernel[...]).reshape(linear.kernel.shape[0], -1).T.contiguous(),
                tensor(linear.bias[...]).flatten(),
            )
            for name, linear in linears.items()
        }

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """[batch, 3, height, width] → the chosen blocks' feature maps, concatenated: [batch, c, h, w]."""
        patches = functional.conv2d(images, *self.patch, stride=self.config.patch_size)
        batch, width, *grid = patches.shape
        patches = patches.flatten(2).transpose(1, 2) + self.positions
        x = torch.cat([self.cls.expand(batch, -1, -1), patches], 1)
        maps = []
        for index, layer in enumerate(self.layers):
            x = x + self.attend(functional.layer_norm(x, (width,), *layer["norm1"], 1e-6), layer)
            hidden = functional.layer_norm(x, (width,), *layer["norm2"], 1e-6)
            hidden = functional.gelu(functional.linear(hidden, *layer["fc1"]))
            x = x + functional.linear(hidden, *layer["fc2"])
            if index in self.blocks:
                maps.append(x[:, 1:].transpose(1, 2).reshape(batch, width, *grid))
        return torch.cat(maps, 1)

    def attend(self, x: torch.Tensor, layer: dict) -> torch.Tensor:
        batch, tokens, _ = x.shape
        qkv = functional.linear(x, *layer["qkv"]).reshape(
            batch, tokens, 3, self.config.num_heads, -1
        )
        attended = functional.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        return functional.linear(attended.transpose(1, 2).reshape(x.shape), *layer["out"])


def upsample(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return functional.interpolate(logits, size, mode="bilinear", align_corners=False)


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    full = upsample(logits, labels.shape[1:])
    return functional.cross_entropy(full, labels, ignore_index=IGNORE, reduction="none").mean()


@torch.no_grad()
def test_image(
    backbone: Backbone,
    head: torch.nn.Conv2d,
    image: torch.Tensor,
    label: torch.Tensor,
    crop: int,
    stride: int,
) -> torch.Tensor:
    """The confusion matrix of mmseg's `slide_inference` on one image [1, 3, h, w]."""
    classes, size = head.out_channels, image.shape[2:]
    total, count = image.new_zeros(1, classes, *size), image.new_zeros(1, 1, *size)
    for top, bottom, left, right in windows(tuple(size), crop, stride):
        window = image[:, :, top:bottom, left:right]
        logits = upsample(head(backbone(window)), window.shape[2:])
        total += functional.pad(logits, (left, size[1] - right, top, size[0] - bottom))
        count[:, :, top:bottom, left:right] += 1
    predicted = upsample(total / count, label.shape).argmax(1)[0]
    valid = label != IGNORE
    index = label[valid] * classes + predicted[valid]
    return torch.bincount(index, minlength=classes**2).reshape(classes, classes)
