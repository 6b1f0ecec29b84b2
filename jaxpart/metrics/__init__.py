"""Metrics as pure functions on arrays, independent of encoders, data sets and tasks."""
