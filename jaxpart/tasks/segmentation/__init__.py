"""Part and object segmentation by a linear head on frozen blocks."""
