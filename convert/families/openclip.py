"""CLIP as OpenCLIP trains it (LAION, DataComp): OpenAI's layout, exact GELU."""

from __future__ import annotations

from convert.families import clip

FAMILY = clip.family("openclip", "gelu")
