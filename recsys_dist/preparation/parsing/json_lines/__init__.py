"""Reads ratings and titles from JSON Lines: one object a line."""
