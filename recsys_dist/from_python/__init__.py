"""Preparation from Python: from tables in memory, or from paths."""
