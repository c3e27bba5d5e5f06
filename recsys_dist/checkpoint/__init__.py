"""Sharded checkpoints, and their merge into one model folder."""
