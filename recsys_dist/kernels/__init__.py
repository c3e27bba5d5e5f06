"""Sparse products and batched symmetric solves: where the time goes."""
