"""Serving of a trained AutoRec: export and fold-in."""
