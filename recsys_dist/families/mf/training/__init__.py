"""Factorization over ranks."""
