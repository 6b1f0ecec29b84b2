"""Small encoders for critters: the same ViT with each method's own differences."""

from __future__ import annotations

from typing import Any

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.projectors import ProjectorConfig
from jaxpart.errors import JaxpartError

_BODY: dict[str, Any] = {
    "image_size": (96, 96),
    "patch_size": 16,
    "width": 128,
    "depth": 4,
    "stem": "conv",
    "num_heads": 4,
    "mlp_width": 512,
}

_DIFFERENCES: dict[str, dict[str, Any]] = {
    "deit": {"pooled_norm": True, "projector": ProjectorConfig("classifier", out=24)},
    "mocov3": {
        "positions": "sincos",
        "position_resize": "sincos_wh",
        "projector": ProjectorConfig("mlp_bn", out=64, hidden=(256, 256)),
    },
    "dino": {
        "position_resize": "bicubic_offset",
        "projector": ProjectorConfig("bottleneck", out=512, hidden=(256, 256), bottleneck=64),
    },
    "ibot": {
        "position_resize": "bicubic_offset",
        "projector": ProjectorConfig(
            "bottleneck", out=512, hidden=(256, 256), bottleneck=64, patch_out=512
        ),
    },
    "mae": {"positions": "sincos"},
    "beit": {
        "positions": "none",
        "relative_bias": "shared",
        "layer_scale": True,
        "qkv_bias": "qv",
    },
    "cae": {
        "positions": "sincos",
        "position_resize": "sincos_wh",
        "layer_scale": True,
        "qkv_bias": "qv",
    },
}


def small_config(method: str) -> ViTConfig:
    """Architecture of a method's small encoder (0.9 M parameters and its projector).

    Raises:
      JaxpartError: The method is unknown.
    """
    if method not in _DIFFERENCES:
        raise JaxpartError(f"there is no method {method!r}; choose from {', '.join(_DIFFERENCES)}")
    return ViTConfig(**_BODY, **_DIFFERENCES[method])
