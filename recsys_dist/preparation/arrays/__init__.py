"""Scratch storage of arrays, and sorting."""
