"""Unsupervised parts: what clusters of patch tokens have to do with annotated keypoints."""
