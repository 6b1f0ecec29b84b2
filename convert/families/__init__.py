"""One file per checkpoint family: a rule table and what is special, nothing else."""
