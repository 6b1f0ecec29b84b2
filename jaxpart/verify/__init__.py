"""Compares encoders with PyTorch, feature files with each other, and results with each other."""
