"""Shared code of models whose ratings are products of factors plus biases."""
