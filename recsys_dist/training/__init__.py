"""The training loop, for any model family."""
