"""From rating files to a prepared dataset, and from a dataset to arrays. Never imports torch."""
