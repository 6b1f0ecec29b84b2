"""Features and labels as files that anybody can read: safetensors, .npz or parquet."""
