"""Reports on finished runs: tables next to the paper's numbers, pictures, and the explorer."""
