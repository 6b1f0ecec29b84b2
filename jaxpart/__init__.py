"""Part-aware evaluation of self-supervised vision transformers in JAX."""
