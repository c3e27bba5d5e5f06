"""Blends: weighted sums of trained models, with weights fitted on ratings that are not test ratings."""
