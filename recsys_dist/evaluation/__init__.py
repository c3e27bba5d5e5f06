"""Errors, rankings and intervals on held-out ratings."""
