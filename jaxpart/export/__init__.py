"""Exports features and labels as files for other tools: safetensors, .npz or parquet."""
