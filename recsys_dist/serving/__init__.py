"""A model as an HTTP service: predictions, lists, fold-in, similar items. Needs the extra `serve`."""
