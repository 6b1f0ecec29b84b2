"""Frozen features: views are encoded once and kept in a cache."""
