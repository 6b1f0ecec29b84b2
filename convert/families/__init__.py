"""One file per checkpoint family: a rule table and what is special, nothing else."""

from convert.families import (
    aimv2,
    augreg,
    beit,
    cae,
    clip,
    data2vec,
    deit,
    dino,
    dinov2,
    dinov3,
    eva02,
    ibot,
    ijepa,
    mae,
    mocov3,
    openclip,
    siglip,
    siglip2,
)
from convert.families.base import Family

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (
        *(deit, mocov3, dino, ibot, mae, beit, cae),
        *(dinov2, dinov3, clip, openclip, siglip, siglip2),
        *(ijepa, data2vec, eva02, aimv2, augreg),
    )
}
"""Every family by name, the paper's first."""
