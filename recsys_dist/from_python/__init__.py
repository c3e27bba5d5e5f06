"""Preparation of what a Python program holds: tables in memory, and files by their names."""
