"""Rows into the shards of a dataset."""
