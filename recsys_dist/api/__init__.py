"""The interface in Python: train and load models, predict, recommend, evaluate."""
