"""Turns parsed rows into the shards of a dataset."""
