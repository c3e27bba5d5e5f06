"""The model folder: what prediction needs, on disk."""
