"""Part-aware evaluation of self-supervised vision transformers in JAX.

import jaxpart
encoder = jaxpart.load_encoder("checkpoints/ibot_vitb16")
features = encoder(encoder.normalize(images))["embedding"]
print(jaxpart.average_precision(features, parts).ap)
rows = jaxpart.evaluate(encoder, tasks=["retrieval", "classification"])
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxpart.encoders.encoder import Encoder
    from jaxpart.encoders.families import families
    from jaxpart.encoders.function import FunctionEncoder
    from jaxpart.encoders.loading import load_encoder
    from jaxpart.encoders.saving import save_encoder
    from jaxpart.encoders.torch_function import TorchFunction
    from jaxpart.errors import JaxpartError
    from jaxpart.evaluation import evaluate
    from jaxpart.metrics.average_precision import RetrievalResult, average_precision

_HOMES = {
    "Encoder": "jaxpart.encoders.encoder",
    "FunctionEncoder": "jaxpart.encoders.function",
    "JaxpartError": "jaxpart.errors",
    "RetrievalResult": "jaxpart.metrics.average_precision",
    "TorchFunction": "jaxpart.encoders.torch_function",
    "average_precision": "jaxpart.metrics.average_precision",
    "evaluate": "jaxpart.evaluation",
    "families": "jaxpart.encoders.families",
    "load_encoder": "jaxpart.encoders.loading",
    "save_encoder": "jaxpart.encoders.saving",
}

__all__ = [
    "Encoder",
    "FunctionEncoder",
    "JaxpartError",
    "RetrievalResult",
    "TorchFunction",
    "average_precision",
    "evaluate",
    "families",
    "load_encoder",
    "save_encoder",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: `import jaxpart` itself costs nothing."""
    if name == "__version__":
        return importlib.metadata.version("jaxpart")
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxpart' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, which `__getattr__` imports."""
    return [*__all__, "__version__"]
