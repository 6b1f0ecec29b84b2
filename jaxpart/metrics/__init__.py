"""Pure functions on arrays: nothing here knows of encoders, data or tasks."""
