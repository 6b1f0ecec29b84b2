"""Runs: work directories, results, tables, progress and events."""
