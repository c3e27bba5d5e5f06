"""The settings of preparation: input, split, cluster."""
