"""The model folder: everything that prediction needs, on disk."""
