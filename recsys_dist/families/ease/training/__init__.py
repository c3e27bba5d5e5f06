"""EASE over ranks."""
