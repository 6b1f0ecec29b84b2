"""Part and object classification by probes."""
