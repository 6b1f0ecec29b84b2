r"""Semantic correspondence: finds a keypoint of one image in another of its class, with every block.

    python -m jaxpart.main --config configs/correspondence.py

runs on critters with the bundled small iBOT encoder.

    python -m jaxpart.main --config configs/correspondence.py:spair \
        --config.method=dinov2 --config.encoder.checkpoint=checkpoints/dinov2 --config.data.root=DATA

measures a converted encoder on the official test pairs of SPair-71k (DATA holds SPair-71k); ":cub" on
pairs within the species of CUB-200-2011. docs/tasks/correspondence.md describes the measurement and others'
published results.
"""

from ml_collections import ConfigDict

from jaxpart.config import correspondence_config


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, "spair" or "cub"."""
    return correspondence_config(variant)
