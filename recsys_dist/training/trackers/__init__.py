"""Experiment trackers: the figures of a run in TensorBoard, MLflow, Weights & Biases or a tracker of one's own."""
