"""CLIP as OpenCLIP trains it (LAION, DataComp): OpenAI's names, exact GELU."""

from __future__ import annotations

import dataclasses

from convert.families import clip

FAMILY = dataclasses.replace(
    clip.FAMILY, name="openclip", fields={**clip.FAMILY.fields, "activation": "gelu"}
)
