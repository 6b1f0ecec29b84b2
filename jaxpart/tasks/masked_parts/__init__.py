"""Masked parts: prediction of a hidden part."""
