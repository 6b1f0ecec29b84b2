"""The paper's comparison in miniature: several encoders, all tasks, one table, and the four claims."""
