"""A run on disk: its work directory, tables, progress and events."""
