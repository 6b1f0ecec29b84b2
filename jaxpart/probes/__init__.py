"""Trainable heads on frozen features."""
