"""Reports on finished runs: tables beside the paper's numbers, pictures, and the explorer."""
