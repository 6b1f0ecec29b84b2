"""Masked parts: what a method predicts of a part that it cannot see."""
