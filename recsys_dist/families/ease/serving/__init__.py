"""Serving of a trained EASE: export and scores."""
