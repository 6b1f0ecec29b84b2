"""PyTorch checkpoints to Flax encoders. Only here do PyTorch names appear."""
