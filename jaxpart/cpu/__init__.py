"""What makes XLA and NumPy fast on CPUs; nothing here changes a result."""
