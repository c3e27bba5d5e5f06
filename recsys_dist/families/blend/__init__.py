"""Weighted sums of trained models."""
