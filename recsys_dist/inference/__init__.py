"""Prediction and recommendation on one node, without a process group."""
