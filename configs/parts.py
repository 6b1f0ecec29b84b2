r"""Unsupervised parts: clusters of foreground patch tokens, of every block, compared with keypoints.

    python -m jaxpart.main --config configs/parts.py

runs on critters with the bundled small iBOT encoder.

    python -m jaxpart.main --config configs/parts.py:cub \
        --config.method=dinov2 --config.encoder.checkpoint=checkpoints/dinov2 --config.data.root=DATA

measures a converted encoder on CUB-200-2011 (DATA holds CUB_200_2011). docs/tasks/parts.md describes the
measurement and others' published results.
"""

from ml_collections import ConfigDict

from jaxpart.config import parts_config


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or "cub"."""
    return parts_config(variant)
