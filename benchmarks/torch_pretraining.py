"""Training steps of DeiT, MoCo v3 and MAE in plain PyTorch, the baseline of `benchmarks.pretraining`.

Built from timm's blocks like the published code, at our sizes; images are finished views.
"""

from __future__ import annotations

import copy
import itertools

import timm
import torch
from timm.models.vision_transformer import Block
from torch import nn
from torch.nn import functional

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.pretraining.decoders import DecoderConfig


def encoder(config: ViTConfig, classes: int = 0) -> nn.Module:
    return timm.models.vision_transformer.VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_width / config.width,
        num_classes=classes,
        global_pool="token",
    )


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


class Step:
    """One step of a method; `model` holds the trained modules."""

    model: nn.Module

    def __init__(self, model: nn.Module):
        self.model = model.train()
        parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.05)

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """Images [batch, views, 3, height, width]."""
        loss = self.loss(images, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


class Deit(Step):
    def __init__(self, config: ViTConfig):
        super().__init__(encoder(config, config.projector.out))

    def loss(self, images, labels):
        return functional.cross_entropy(self.model(images[:, 0]), labels, label_smoothing=0.1)


def mlp(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        last = i == len(widths) - 2
        layers += [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b, affine=not last)]
        layers += [] if last else [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Mocov3(Step):
    def __init__(self, config: ViTConfig):
        projector = config.projector
        vit = encoder(config)
        for frozen in (*vit.patch_embed.parameters(), vit.pos_embed):
            frozen.requires_grad = False
        head = mlp([config.width, *projector.hidden, projector.out])
        widths = [projector.out, projector.predictor, projector.out]
        predictor = mlp(widths) if projector.predictor else nn.Identity()
        super().__init__(nn.ModuleDict({"vit": vit, "head": head, "predictor": predictor}))
        self.teacher = copy.deepcopy(self.model)

    def loss(self, images, labels):
        predictions = [
            self.model["predictor"](self.model["head"](self.model["vit"](images[:, i])))
            for i in range(2)
        ]
        with torch.no_grad():
            for student, teacher in zip(
                self.model.parameters(), self.teacher.parameters(), strict=True
            ):
                teacher.mul_(0.99).add_(student, alpha=0.01)
            keys = [self.teacher["head"](self.teacher["vit"](images[:, i])) for i in range(2)]
        return self.contrast(predictions[0], keys[1]) + self.contrast(predictions[1], keys[0])

    @staticmethod
    def contrast(q, k):
        logits = functional.normalize(q) @ functional.normalize(k).T / 0.2
        return functional.cross_entropy(logits, torch.arange(len(q))) * 0.4


class MaeModel(nn.Module):
    def __init__(self, config: ViTConfig, decoder: DecoderConfig):
        super().__init__()
        self.vit = encoder(config)
        self.vit.pos_embed.requires_grad = False
        width, patches = decoder.width, decoder.grid[0] * decoder.grid[1]
        self.embed = nn.Linear(config.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, patches + 1, width), requires_grad=False)
        ratio = decoder.mlp_width / width
        self.blocks = nn.Sequential(
            *[Block(width, decoder.num_heads, ratio, qkv_bias=True) for _ in range(decoder.depth)]
        )
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, decoder.out)

    def forward(self, images: torch.Tensor, share: float):
        vit = self.vit
        x = vit.patch_embed(images) + vit.pos_embed[:, 1:]
        batch, patches, width = x.shape
        visible = patches - int(share * patches)
        order = torch.rand(batch, patches).argsort(dim=1)
        inverse = order.argsort(dim=1)
        x = x.gather(1, order[:, :visible, None].expand(-1, -1, width))
        cls = (vit.cls_token + vit.pos_embed[:, :1]).expand(batch, -1, -1)
        x = self.embed(vit.norm(vit.blocks(torch.cat([cls, x], 1))))
        hidden = self.mask_token.expand(batch, patches - visible, -1)
        full = torch.cat([x[:, 1:], hidden], 1)
        full = full.gather(1, inverse[..., None].expand(-1, -1, full.shape[-1]))
        x = self.blocks(torch.cat([x[:, :1], full], 1) + self.positions)
        return self.head(self.norm(x))[:, 1:], inverse >= visible


class Mae(Step):
    def __init__(self, config: ViTConfig, decoder: DecoderConfig):
        super().__init__(MaeModel(config, decoder))
        self.patch = config.patch_size

    def loss(self, images, labels):
        prediction, mask = self.model(images[:, 0], 0.75)
        side = self.patch
        target = functional.unfold(images[:, 0], side, stride=side).transpose(1, 2)
        mean, variance = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        target = (target - mean) / (variance + 1e-6).sqrt()
        patch_loss = ((prediction - target) ** 2).mean(-1)
        return (patch_loss * mask).sum() / mask.sum()
