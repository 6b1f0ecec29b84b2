"""The architecture of an encoder: every difference between the methods is a field of `ViTConfig`."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from jaxpart.encoders.layers import Activation
from jaxpart.encoders.positions import Grid, PositionResize
from jaxpart.encoders.projectors import ProjectorConfig
from jaxpart.encoders.rotary import RotaryRule
from jaxpart.errors import JaxpartError

MAX_DEPTH = 256
_MAX_SIZE = 1 << 16
"""No encoder is so wide, and no image that it was trained at so large."""


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """Architecture of an encoder, projector included.

    Attributes:
      image_size: (height, width) in pixels for which positions are stored.
      patch_size: Side of a patch in pixels.
      stride: Pixels between patches, a divisor of `patch_size`; 0: equal to it, so that patches
        do not overlap. A smaller stride changes how an encoder is run, not its weights (Amir et al.,
        ECCVW 2022, `extractor.py`): positions are resized to the denser grid by the family's rule.
      width: Channels of a token.
      depth: Number of blocks.
      num_heads: Attention heads per block.
      mlp_width: Hidden channels of each block's MLP.
      prefix: Names of the tokens before the patches: ("cls",), ("cls", "dist"), ("cls", "register1",
        …), or empty.
      positions: Absolute positions: trained, fixed sin-cos, or none (BEiT, DINOv3).
      position_resize: The family's rule for another grid, see `PositionResize`.
      prefix_positions: Whether the prefix tokens have positions too (not in DeiT III).
      rotary: Rotation of the patches' queries and keys by position, see `RotaryRule`.
      relative_bias: Relative position bias tables (BEiT): none, one for all blocks, or one per block.
      layer_scale: Whether each residual branch is scaled by a trained vector.
      qkv_bias: Biases of the query, key and value projection: all three, q and v only (BEiT, CAE), or
        none.
      biases: Whether the attention's output and the MLP have biases (not in AIMv2).
      stem: Patch embedding: one linear map per patch, or MoCo v3's convolutions.
      stem_bias: Whether that linear map has a bias (not in CLIP).
      stem_norm: Whether a norm follows the patch embedding, before positions (AIMv2).
      pre_norm: Whether a norm precedes the first block, after positions (CLIP).
      norm: LayerNorm, or RMSNorm (AIMv2).
      norm_epsilon: Added to every norm's variance.
      activation: The MLP's activation: exact GELU (erf), tanh GELU, x · sigmoid(1.702 x) (OpenAI's
        CLIP), or SiLU.
      gated_mlp: Whether half of the first layer's output, activated, gates the other half (SwiGLU).
      mlp_norm: Whether a norm precedes the MLP's second layer (EVA-02).
      attention_norm: Whether a norm precedes the attention's output projection (EVA-02 CLIP).
      final_norm: Whether a LayerNorm follows the last block (not in fine-tuned BEiT).
      pooled_norm: Whether a LayerNorm is applied to the mean patch token, which the classifier then reads
        (fine-tuned BEiT, the small DeiT).
      projector: The projector or classifier on top of the encoder, if any.
    """

    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    stride: int = 0
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    prefix: tuple[str, ...] = ("cls",)
    positions: Literal["learned", "sincos", "none"] = "learned"
    position_resize: PositionResize = "bicubic"
    prefix_positions: bool = True
    rotary: RotaryRule = "none"
    relative_bias: Literal["none", "shared", "per_block"] = "none"
    layer_scale: bool = False
    qkv_bias: Literal["qkv", "qv", "none"] = "qkv"
    biases: bool = True
    stem: Literal["patch", "conv"] = "patch"
    stem_bias: bool = True
    stem_norm: bool = False
    pre_norm: bool = False
    norm: Literal["layer", "rms"] = "layer"
    norm_epsilon: float = 1e-6
    activation: Activation = "gelu"
    gated_mlp: bool = False
    mlp_norm: bool = False
    attention_norm: bool = False
    final_norm: bool = True
    pooled_norm: bool = False
    projector: ProjectorConfig | None = None

    def __post_init__(self) -> None:
        """Raises `JaxpartError` for impossible or inconsistent sizes."""
        for name in ("depth", "width", "num_heads", "mlp_width", "patch_size"):
            size, most = getattr(self, name), MAX_DEPTH if name == "depth" else _MAX_SIZE
            if not 1 <= size <= most:
                raise JaxpartError(f"{name} is {size}; give a number from 1 to {most}")
        for name in ("heads", "num_heads") if self.projector else ():
            size = getattr(self.projector, name)
            if not 1 <= size <= MAX_DEPTH:
                raise JaxpartError(
                    f"its projector's {name} is {size}; give a number from 1 to {MAX_DEPTH}"
                )
        if max(self.image_size) > _MAX_SIZE:
            raise JaxpartError(
                f"image_size is {self.image_size}; give at most {_MAX_SIZE} pixels a side"
            )
        if self.width % self.num_heads:
            raise JaxpartError(
                f"width {self.width} cannot be split into {self.num_heads} heads; give a number of "
                f"heads that divides it"
            )
        if self.rotary != "none" and self.width // self.num_heads % 4:
            raise JaxpartError(
                f"rotary positions need heads of a multiple of 4 channels, not {self.width} / "
                f"{self.num_heads}; give another number of heads"
            )
        if self.stride and (self.stride < 0 or self.patch_size % self.stride):
            raise JaxpartError(
                f"patches of {self.patch_size} pixels cannot lie {self.stride} pixels apart; give a "
                f"divisor of {self.patch_size}"
            )
        if self.stride and self.stem == "conv":
            raise JaxpartError(
                "patches of a convolutional stem have the stride of its convolutions"
            )
        if self.stem == "conv" and (self.patch_size < 2 or self.patch_size & (self.patch_size - 1)):
            raise JaxpartError(
                f"a convolutional stem cannot make patches of {self.patch_size} pixels; give a power of 2"
            )
        self.grid_of(*self.image_size)

    def grid_of(self, height: int, width: int) -> Grid:
        """Patches along (height, width) of an image. Raises `JaxpartError` if they do not fit."""
        if height < 1 or width < 1 or height % self.patch_size or width % self.patch_size:
            raise JaxpartError(
                f"an image of {height} × {width} pixels cannot be cut into patches of "
                f"{self.patch_size}; resize it to a multiple of the patch size"
            )
        step = self.stride or self.patch_size
        return (height - self.patch_size) // step + 1, (width - self.patch_size) // step + 1

    @property
    def grid(self) -> Grid:
        """Grid for which positions are stored."""
        height, width = self.image_size
        return height // self.patch_size, width // self.patch_size


def chosen(config: Any) -> dict[str, Any]:
    """The non-default fields of a dataclass, such as `ViTConfig`, by name."""
    return {
        field.name: chosen(value) if dataclasses.is_dataclass(value) else value
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) != field.default
    }
