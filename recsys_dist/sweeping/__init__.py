"""A search for settings: many short trainings as an Optuna study, of which the best on validation ratings wins."""
