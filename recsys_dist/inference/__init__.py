"""Prediction, recommendation and evaluation on one node, without a process group."""
