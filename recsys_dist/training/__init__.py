"""The training loop and the two trainers that it drives."""
