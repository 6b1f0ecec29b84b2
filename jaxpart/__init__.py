"""Part-aware evaluation of self-supervised vision transformers in JAX.

import jaxpart
encoder = jaxpart.load_encoder("checkpoints/ibot_vitb16")
features = encoder(encoder.normalize(images))["embedding"]
print(jaxpart.average_precision(features, parts).ap)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxpart.encoders.encoder import Encoder
    from jaxpart.encoders.families import families
    from jaxpart.encoders.loading import load_encoder
    from jaxpart.encoders.saving import save_encoder
    from jaxpart.errors import JaxpartError
    from jaxpart.metrics.average_precision import RetrievalResult, average_precision

_HOMES = {
    "Encoder": "jaxpart.encoders.encoder",
    "JaxpartError": "jaxpart.errors",
    "RetrievalResult": "jaxpart.metrics.average_precision",
    "average_precision": "jaxpart.metrics.average_precision",
    "families": "jaxpart.encoders.families",
    "load_encoder": "jaxpart.encoders.loading",
    "save_encoder": "jaxpart.encoders.saving",
}

__all__ = [
    "Encoder",
    "JaxpartError",
    "RetrievalResult",
    "average_precision",
    "families",
    "load_encoder",
    "save_encoder",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: `import jaxpart` itself costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxpart' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
