"""Ranks, devices and the collectives between them."""
