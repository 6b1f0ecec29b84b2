"""One file per checkpoint family: a rule table and what is special, nothing else."""

from convert.families import beit, cae, deit, dino, ibot, mae, mocov3
from convert.families.base import Family

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY for module in (deit, mocov3, dino, ibot, mae, beit, cae)
}
"""Every family by name."""
