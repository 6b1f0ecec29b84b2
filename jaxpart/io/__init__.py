"""Files that are whole or not at all, checkpoints, tensor files and downloads."""
