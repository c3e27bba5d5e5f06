"""Parses bytes into rows of users, items, ratings and timestamps."""
