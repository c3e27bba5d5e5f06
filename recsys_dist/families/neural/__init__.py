"""Any nn.Module that scores pairs of users and items, as a model family."""
