"""Data sets, part patches and image preprocessing."""
