"""Frozen features: views are encoded once and cached."""
