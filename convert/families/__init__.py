"""One file per checkpoint family: a rule table and what is special, nothing else."""

from convert.families import (
    beit,
    cae,
    clip,
    deit,
    dino,
    dinov2,
    ibot,
    mae,
    mocov3,
    openclip,
    siglip,
)
from convert.families.base import Family

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (deit, mocov3, dino, ibot, mae, beit, cae, dinov2, clip, openclip, siglip)
}
"""Every family by name."""
