"""Atomic file writes, checkpoints, tensor files and downloads."""
