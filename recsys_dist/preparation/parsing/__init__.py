"""Bytes into rows of users, items, ratings and timestamps."""
