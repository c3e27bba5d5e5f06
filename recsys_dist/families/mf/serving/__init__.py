"""Serving of a trained factorization: export, fold-in, uncertainty."""
