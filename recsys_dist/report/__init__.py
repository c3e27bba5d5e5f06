"""HTML pages about training runs and prepared datasets."""
