"""Finished runs as something to look at: tables with the paper's figures, pictures, and the explorer."""
