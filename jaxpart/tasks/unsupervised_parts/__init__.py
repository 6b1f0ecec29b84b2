"""Unsupervised parts: clusters of patch tokens, evaluated with annotated keypoints."""
