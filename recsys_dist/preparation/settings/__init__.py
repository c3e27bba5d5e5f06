"""What preparation is told: inputs, splits, the cluster."""
