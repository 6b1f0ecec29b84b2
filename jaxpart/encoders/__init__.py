"""Frozen vision transformers: one ViT, every method a value of its configuration."""
