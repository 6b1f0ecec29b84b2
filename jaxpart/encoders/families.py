"""Facts about each family of encoders, including its pixel normalisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """An encoder's pixel normalisation: value / 255, minus mean, over std, per RGB channel."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def stated_preprocessing(mean: Any, std: Any) -> Preprocessing | None:
    """What a JSON file states; None unless it is three numbers from 0 to 1 each, and no std is 0."""
    for values in (mean, std):
        if not isinstance(values, list | tuple) or len(values) != 3:
            return None
        if not all(type(value) in (int, float) and 0 <= value <= 1 for value in values):
            return None
    if min(std) == 0:
        return None
    floats: Any = (tuple(map(float, values)) for values in (mean, std))
    return Preprocessing(*floats)


def processor_preprocessing(document: Mapping[str, Any]) -> Preprocessing | None:
    """What transformers' processor states, which may leave pixels from 0 to 1 as they are.

    None also if it does to pixels what a mean and a std cannot express.
    """
    other = ("do_flip_channel_order", "include_top", "rescale_offset")
    factor = document.get("rescale_factor", 1 / 255)
    if (
        any(document.get(name) for name in other)
        or document.get("do_rescale") is False
        or not isinstance(factor, float)
        or abs(factor * 255 - 1) > 1e-6
    ):
        return None
    if document.get("do_normalize") is False:
        return Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return stated_preprocessing(document.get("image_mean"), document.get("image_std"))


_HALF = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_CLIP = Preprocessing((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

PIXELS: Mapping[str, Preprocessing | None] = MappingProxyType(
    {"uint8": None, "imagenet": Preprocessing(), "clip": _CLIP, "half": _HALF}
)
"""Inputs of a function: uint8 pixels, or float32 normalised by a mean and std."""

_CROPPED = "bicubic to 256, centre crop 224"
_WHOLE = "bicubic, shorter side to 224, centre crop"
_SQUEEZED = "to the square, whatever the aspect ratio"


@dataclasses.dataclass(frozen=True)
class FamilyFacts:
    """Facts about a family of encoders.

    Attributes:
      name: Its name for `python -m convert`, "ibot".
      title: The method and its publication.
      prefix: Tokens before the patches.
      patch_sizes: Sides of a patch in pixels, in the published models.
      positions: Kind of positions, and how they adapt to another image size.
      projector: The part on top of the encoder that is converted too.
      preprocessing: Mean and std of its pixels, which `Encoder.normalize` applies.
      resize: How its own evaluation resizes images; our tasks follow the paper's protocol instead.
      layouts: Naming schemes of its checkpoints.
      note: Further remarks; may be empty.
    """

    name: str
    title: str
    prefix: str
    patch_sizes: tuple[int, ...]
    positions: str
    projector: str
    preprocessing: Preprocessing = Preprocessing()
    resize: str = _CROPPED
    layouts: tuple[str, ...] = ("original", "timm", "transformers")
    note: str = ""


_FAMILIES = (
    FamilyFacts(
        "deit",
        "DeiT, distilled DeiT (Touvron et al., ICML 2021) and DeiT III (ECCV 2022)",
        "cls; distilled: cls, dist",
        (16,),
        "learned, bicubic",
        "classifier (distilled: two)",
        note="DeiT III has layer scale, and no position for cls",
    ),
    FamilyFacts(
        "mocov3",
        "MoCo v3 (Chen et al., ICCV 2021)",
        "cls",
        (16,),
        "sin-cos, computed for each size (segmentation: stored, bicubic)",
        "MLP with BatchNorm, and the predictor",
        note="its ViT-S has 12 heads",
    ),
    FamilyFacts(
        "dino",
        "DINO (Caron et al., ICCV 2021)",
        "cls",
        (8, 16),
        "learned, bicubic with an offset of 0.1",
        "bottleneck, in the full checkpoint only",
    ),
    FamilyFacts(
        "ibot",
        "iBOT (Zhou et al., ICLR 2022)",
        "cls",
        (16,),
        "learned, bicubic with an offset of 0.1",
        "bottleneck with a layer for patches, in the full checkpoint only",
    ),
    FamilyFacts(
        "mae",
        "MAE (He et al., CVPR 2022)",
        "cls",
        (14, 16),
        "sin-cos, stored, bicubic",
        "classifier, only in a checkpoint fine-tuned on mean patches",
    ),
    FamilyFacts(
        "beit",
        "BEiT (Bao et al., ICLR 2022)",
        "cls",
        (16,),
        "relative biases, interpolated geometrically",
        "classifier, in a fine-tuned checkpoint only",
        note="trained with mean and std 0.5; the paper evaluates it with ImageNet's, as here",
    ),
    FamilyFacts(
        "cae",
        "CAE (Chen et al., IJCV 2024)",
        "cls",
        (16,),
        "sin-cos, computed for each size (segmentation: stored, bicubic)",
        "none",
    ),
    FamilyFacts(
        "dinov2",
        "DINOv2 (Oquab et al., TMLR 2024), with registers (Darcet et al., ICLR 2024)",
        "cls; with registers: cls, register1 … register4",
        (14,),
        "learned, bicubic with an offset of 0.1; with registers: antialiased",
        "none",
        note="stored for 518 pixels; the giant has gated MLPs",
    ),
    FamilyFacts(
        "dinov3",
        "DINOv3, its ViTs (Siméoni et al., 2025)",
        "cls, register1 … register4",
        (16,),
        "rotary, relative to the image's sides: any size",
        "none",
        resize=_SQUEEZED,
        note="satellite models expect mean (0.430, 0.411, 0.296) and std (0.213, 0.156, 0.143)",
    ),
    FamilyFacts(
        "clip",
        "CLIP of OpenAI (Radford et al., ICML 2021), MetaCLIP and DFN, with the quick GELU",
        "cls",
        (14, 16, 32),
        "learned, bicubic",
        "linear projection of cls into the text embedding space",
        preprocessing=_CLIP,
        resize=_WHOLE,
        note="OpenAI's file is a TorchScript program: save its state_dict() first",
    ),
    FamilyFacts(
        "openclip",
        "CLIP as OpenCLIP trains it (LAION, DataComp), with the exact GELU",
        "cls",
        (14, 16, 32),
        "learned, bicubic",
        "linear projection of cls into the text embedding space",
        preprocessing=_CLIP,
        resize=_WHOLE,
    ),
    FamilyFacts(
        "siglip",
        "SigLIP (Zhai et al., ICCV 2023)",
        "none",
        (14, 16),
        "learned, bicubic",
        "attention pooling; gap variants: none",
        preprocessing=_HALF,
        resize=_SQUEEZED,
        note="tanh GELU, which timm builds for only some of its variants",
    ),
    FamilyFacts(
        "siglip2",
        "SigLIP 2 (Tschannen et al., 2025), fixed sizes and NaFlex",
        "none",
        (14, 16, 32),
        "learned, bicubic; NaFlex: antialiased bilinear",
        "attention pooling",
        preprocessing=_HALF,
        resize=_SQUEEZED + "; NaFlex keeps it",
    ),
    FamilyFacts(
        "ijepa",
        "I-JEPA (Assran et al., CVPR 2023), the target encoder",
        "none",
        (14, 16),
        "sin-cos, stored, bicubic",
        "none",
    ),
    FamilyFacts(
        "data2vec",
        "data2vec for images (Baevski et al., ICML 2022)",
        "cls",
        (16,),
        "relative biases, interpolated geometrically",
        "classifier, in a fine-tuned checkpoint only",
        layouts=("original", "transformers"),
        note="transformers drops the final norm of pretraining; fine-tuned ones expect mean and std 0.5",
    ),
    FamilyFacts(
        "eva02",
        "EVA-02 and EVA-02 CLIP (Fang et al., IVC 2024)",
        "cls",
        (14, 16),
        "learned, bicubic, and rotary",
        "classifier or projection, if any",
        preprocessing=_CLIP,
        resize=_WHOLE,
        layouts=("original", "timm"),
    ),
    FamilyFacts(
        "aimv2",
        "AIMv2 (Fini et al., CVPR 2025), fixed sizes",
        "none",
        (14,),
        "learned, antialiased bicubic",
        "none",
        preprocessing=_CLIP,
        resize=_WHOLE,
    ),
    FamilyFacts(
        "augreg",
        "The JAX ViT (Dosovitskiy et al., ICLR 2021) and AugReg (Steiner et al., TMLR 2022)",
        "cls",
        (8, 16, 32),
        "learned, bicubic",
        "classifier",
        preprocessing=_HALF,
        note="tanh GELU in its .npz files, exact in timm and transformers; hybrids are not supported",
    ),
    FamilyFacts(
        "vit",
        "Any other plain ViT under timm's or transformers' names",
        "as its arrays or --tokens say",
        (8, 14, 16, 32),
        "as its arrays say, antialiased bicubic or --positions",
        "classifier or attention pooling, if any",
        note="--num-heads has to be given; --mean, --std, --eps, --activation where they differ",
    ),
)


def families() -> Mapping[str, FamilyFacts]:
    """Facts about each family that `python -m convert` supports, by name; the paper's seven first."""
    return MappingProxyType({facts.name: facts for facts in _FAMILIES})
