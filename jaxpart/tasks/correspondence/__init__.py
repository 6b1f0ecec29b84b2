"""Semantic correspondence: a keypoint of one image found in another of its class."""
