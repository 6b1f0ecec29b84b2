"""Semantic correspondence: matching keypoints between images of one class."""
