"""The seven pretraining objectives, for those who train their own encoder."""
