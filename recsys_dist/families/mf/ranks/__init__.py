"""Sums between users and items across ranks."""
