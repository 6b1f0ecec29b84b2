"""Is it the same? Encoders against PyTorch, feature files and results against each other."""
