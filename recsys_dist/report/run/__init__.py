"""Pages of a training run."""
