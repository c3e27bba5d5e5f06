"""Sums over ratings between users and items on different ranks."""
